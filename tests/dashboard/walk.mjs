// One walk through the dashboard in a real headless Chromium:
// `node walk.mjs PLAYWRIGHT_FOLDER WALK ADDRESS [NAME=VALUE...]`; CHROMIUM names another browser than Debian's.
//
// Duty: look at the page as a person would, say `ok` or `not ok` for each thing that must be so, and for each walk that the page asked
// nobody else, had no error, and never needed to be scrolled sideways. Must not: speak to the broker but through the page. Neighbours:
// `walks.mjs` are the walks; `tests/dashboard.rs` starts the broker and its clients. Exit code 0: all was ok.

import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { WALKS } from './walks.mjs';

const SECS_MAX = 100;
/** For everything that must come at some time. */
const WAIT_MS_MAX = 20_000;

/** What a walk has: the page, and words for looking at it. */
class Visit {
  constructor(browser, address, wanted) {
    Object.assign(this, { browser, address, wanted, failed: 0, foreign: [], errors: [] });
  }

  check(what, isGood, seen = '') {
    console.log(isGood ? `ok ${what}` : `not ok ${what}: ${seen}`);
    if (!isGood) this.failed += 1;
  }

  /** A page of its own, at this part of the dashboard. */
  async open(hash = '', { width = 1280, height = 900, colorScheme = 'light' } = {}) {
    await this.context?.close();
    this.context = await this.browser.newContext({ viewport: { width, height }, colorScheme });
    this.context.setDefaultTimeout(WAIT_MS_MAX);
    this.context.on('request', (request) => {
      const url = request.url();
      if (!url.startsWith(this.address) && !url.startsWith('data:')) this.foreign.push(url);
    });
    this.page = await this.context.newPage();
    this.page.on('pageerror', (error) => this.errors.push(error.message));
    this.page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.errors.push(message.text());
    });
    await this.page.goto(this.address + hash);
  }

  /** Waits until an element with this text can be seen. */
  async sees(selector, text) {
    const found = this.page.locator(selector).filter({ hasText: text, visible: true }).first();
    try {
      await found.waitFor();
      this.check(`${selector} says ${text}`, true);
    } catch {
      const seen = await this.page.locator(selector).allInnerTexts();
      this.check(`${selector} says ${text}`, false, seen.join(' | ').slice(0, 2000));
    }
    return found;
  }

  /** What can be filled in, by its label, where it can be seen. */
  field(label) {
    return this.page.locator('input:visible, textarea:visible, select:visible').and(this.page.getByLabel(label, { exact: true }));
  }

  /** The text of an element, as it is read. */
  async reads(selector) {
    return (await this.page.locator(selector).first().innerText()).replaceAll('\u202f', ' ');
  }

  async goTo(hash) {
    await this.page.evaluate((to) => {
      location.hash = to;
    }, hash);
  }

  /** The id of what has the focus, or its text. */
  focused() {
    return this.page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  }

  /** Nothing that a client wrote is anything but text. */
  async seesNoElements(what) {
    const strangers = await this.page.evaluate(() => {
      const isStrange = (element) =>
        !['svg', 'path'].includes(element.localName) && [...element.attributes].some(({ name }) => /^on/i.test(name));
      return [...document.querySelectorAll('*')]
        .filter((element) => isStrange(element) || ['img', 'iframe', 'object', 'marquee', 'style'].includes(element.localName))
        .map((element) => element.outerHTML);
    });
    const ran = await this.page.evaluate(() => window.hostile ?? null);
    this.check(`${what}: text of clients is text`, strangers.length === 0 && ran === null, `${strangers} ${ran}`);
  }

  async fitsInWidth(what) {
    const [needed, there] = await this.page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    this.check(`${what}: no scrolling sideways`, needed <= there, `${needed} of ${there}`);
  }

  /** What holds at the end of every walk; `isExpected(error)` names errors that belong to it. */
  end(isExpected = () => false) {
    this.check('no request leaves the origin', this.foreign.length === 0, this.foreign);
    const errors = this.errors.filter((error) => !isExpected(error));
    this.check('nothing went wrong in the page', errors.length === 0, errors);
  }
}

async function main() {
  const [folder, name, address, ...rest] = process.argv.slice(2);
  const { chromium } = await import(pathToFileURL(path.join(folder, 'index.mjs')));
  const wanted = Object.fromEntries(rest.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
  setTimeout(() => {
    console.log(`not ok: no end after ${SECS_MAX} s`);
    process.exit(1);
  }, SECS_MAX * 1000).unref();
  // As root there is no sandbox.
  const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
  const visit = new Visit(browser, address, wanted);
  try {
    const { isExpected } = (await WALKS[name](visit)) ?? {};
    visit.end(isExpected);
  } catch (error) {
    visit.check(`the walk ${name} comes to its end`, false, error.stack);
    console.log(await visit.page?.evaluate(() => document.body.innerText).catch(() => ''));
  }
  await browser.close();
  console.log('# done');
  process.exit(visit.failed === 0 ? 0 : 1);
}

main();
