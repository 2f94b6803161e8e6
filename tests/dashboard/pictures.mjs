// Pictures of the dashboard for people: `node pictures.mjs PLAYWRIGHT_FOLDER ADDRESS FOLDER`; CHROMIUM names another browser than Debian's.
//
// Duty: show what docs/operating.md tells of, as it is. Must not: judge. Neighbours: `scripts/screenshots` starts the broker and its
// clients; `walk.mjs` judges.

import path from 'node:path';
import { pathToFileURL } from 'node:url';

const WAIT_MS_MAX = 30_000;
/** So long, so that the charts have something to tell. */
const HISTORY_MS = Number(process.env.HISTORY_MS ?? 90_000);

const [playwright, address, folder] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(path.join(playwright, 'index.mjs')));
// As root there is no sandbox.
const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });

async function open(hash, { width, height, colorScheme = 'light', ...more }) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, ...more });
  context.setDefaultTimeout(WAIT_MS_MAX);
  const page = await context.newPage();
  await page.goto(address + hash);
  return page;
}

function seen(page, selector, text) {
  return page.locator(selector).filter({ hasText: text, visible: true }).first().waitFor();
}

const keep = (page, name) => page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });

const overview = await open('', { width: 1280, height: 900 });
const phone = await open('', { width: 390, height: 844, colorScheme: 'dark', deviceScaleFactor: 1.5, isMobile: true, hasTouch: true });
const client = await open('#clients/tablet-hall-2', { width: 1280, height: 800 });
const clients = await open('#clients', { width: 1280, height: 800, colorScheme: 'dark' });
const topic = await open(`#topics/${encodeURIComponent('plant/press-01/setpoint')}`, { width: 1280, height: 800 });
const drops = await open('#refusals', { width: 1280, height: 700 });
const trace = await open('#trace/client/press-01', { width: 1280, height: 560 });
for (const page of [overview, phone]) await seen(page, '#slow', 'tablet-hall-2');
await seen(client, '.because', 'Slow:');
await seen(topic, '#audience', 'historian');
await seen(drops, '#denials', 'gateway-old');
await new Promise((resolve) => setTimeout(resolve, HISTORY_MS));
await keep(overview, 'overview');
await phone.screenshot({ path: path.join(folder, 'overview-phone.png') });
await keep(client, 'slow-consumer');
await clients.locator('#client-filter').fill('press');
// Twelve presses, and the one of the alarms.
await seen(clients, '#client-pager', '13 shown');
await keep(clients, 'clients');
await keep(topic, 'topic');
await keep(drops, 'denials');
await keep(trace, 'trace');
await browser.close();
