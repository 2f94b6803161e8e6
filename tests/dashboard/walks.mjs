// The walks: what a person looks for in the dashboard, and finds. Must not: wait for a time; each step waits for what it looks for.

const PARTS = ['overview', 'clients', 'topics', 'refusals', 'tryout', 'trace', 'broker'];

const row = (table, text) => `${table} tr:has-text(${JSON.stringify(text)})`;

/** Every part shows what the broker says: its figures, clients, topics and settings. */
async function parts(visit) {
  const { wanted } = visit;
  await visit.open();
  await visit.sees('#state', /All is well|warning|critical/);
  await visit.sees('#facts', wanted.version);
  await visit.sees('#facts', `${wanted.shards} shards`);
  await visit.sees('#facts', wanted.listener);
  await visit.sees('#facts', 'up ');
  await visit.sees('#now div', new RegExp(`Clients connected\\s*${wanted.connected}$`));
  await visit.sees('#now div', new RegExp(`Retained messages\\s*${wanted.retained}$`));
  const shards = await visit.page.locator('#shards tbody tr').count();
  visit.check('each shard has a row', shards === Number(wanted.shards), shards);
  await visit.sees('#drops', 'Nothing was dropped, denied or cut short since the start');
  await visit.sees('#slow', 'Nobody is slow');
  await visit.sees('#tiles .foot', /p50/);

  await visit.page.getByRole('tab', { name: 'Clients' }).click();
  await visit.sees('#client-pager', 'page 1');
  await visit.page.getByRole('button', { name: 'Next' }).first().click();
  await visit.sees('#client-pager', 'page 2');
  await visit.page.getByRole('button', { name: 'Previous' }).first().click();
  await visit.sees('#client-pager', 'page 1');
  await visit.field('Client id, user or address').fill('needle');
  await visit.sees('#client-pager', '1 shown');
  await visit.page.getByRole('link', { name: 'needle-in-the-hay' }).click();
  await visit.sees('#client-detail dl div', /User\s*ann/);
  await visit.sees('#client-detail dl div', /Will\s*needle\/will/);
  await visit.sees('#client-detail table', 'needle/+/in');
  await visit.goTo('#clients/away');
  await visit.sees('#client-detail dl div', /State\s*away/);
  await visit.sees('#client-detail table', 'for/away');
  await visit.goTo('#clients/nobody');
  await visit.sees('#client-detail', 'There is no session of this client id now');

  await visit.page.getByRole('tab', { name: 'Topics' }).click();
  await visit.sees('#retained', 'kept/one');
  await visit.field('Topic filter').fill('kept/+/two');
  await visit.page.getByRole('button', { name: 'List' }).click();
  await visit.sees('#retained-pager', '1 shown');
  await visit.field('Topic').fill('needle/kept/in');
  await visit.page.getByRole('button', { name: 'Look' }).click();
  await visit.sees('#audience', 'needle-in-the-hay');
  await visit.sees('#audience-told', '1 client.');
  await visit.sees('#kept pre', 'what is kept <b>here</b>');
  await visit.field('User').fill('bob');
  await visit.page.getByRole('button', { name: 'Ask' }).click();
  await visit.sees('#why-answer', 'denied');

  await visit.page.getByRole('tab', { name: 'Broker' }).click();
  await visit.sees('#listeners', 'ws');
  await visit.sees('#config', 'acl_file');
  await visit.seesNoElements('all parts');
  // Who is not there was asked for.
  return { isExpected: (error) => error.includes('404') };
}

/** From the first look to the cause in three clicks: a slow consumer, a denied client, a hot topic. */
async function incident(visit) {
  await visit.open();
  await visit.sees(`#slow`, 'slow-reader');
  await visit.sees(row('#slow', 'slow-reader'), /\S/);
  await visit.page.locator('#slow').getByRole('link', { name: 'slow-reader' }).click();
  await visit.sees('#client-detail .because', 'Slow:');
  await visit.sees('#client-detail table', 'flood/slow');

  await visit.goTo('#overview');
  await visit.sees(row('#drops', 'publishes_denied'), /\d/);
  await visit.page.getByRole('link', { name: 'All reasons and the last denials' }).click();
  await visit.sees(row('#denials', 'denied-device'), 'secret/door');
  await visit.sees(row('#denials', 'denied-device'), 'acl');

  await visit.goTo('#overview');
  await visit.sees(row('#hot', 'flood/hot'), /\/s/);
  await visit.sees('#talkers', 'hot-publisher');
  await visit.page.locator('#hot').getByRole('link', { name: 'flood/hot' }).click();
  await visit.sees('#audience', 'hot-reader');
  await visit.sees('#hottest', 'flood/hot');
}

/** Who is disconnected is asked for first, and then gone. */
async function kick(visit) {
  await visit.open('#clients/victim');
  const button = visit.page.getByRole('button', { name: 'Disconnect…' });
  await button.click();
  await visit.sees('#sure-dialog', 'Disconnect this client?');
  await visit.page.keyboard.press('Enter');
  await visit.page.locator('#sure-dialog').waitFor({ state: 'hidden' });
  await visit.sees('#client-detail dl div', /State\s*connected/);
  visit.check('Enter on the first choice, Cancel, does nothing', true);
  await button.click();
  await visit.page.getByLabel('End its session, too').check();
  await visit.page.getByRole('button', { name: 'Disconnect', exact: true }).click();
  await visit.sees('#client-detail', 'There is no session of this client id now');
  visit.check('who is gone cannot be disconnected again', await button.isDisabled());
  return { isExpected: (error) => error.includes('404') };
}

/** Where changes are off, nothing can be changed, and the page says which key does it. */
async function readOnly(visit) {
  await visit.open('#clients/victim');
  await visit.sees('#client-detail dl div', /State\s*connected/);
  await visit.sees('#kick-told', 'admin_allow_changes');
  visit.check('Disconnect is disabled', await visit.page.getByRole('button', { name: 'Disconnect…' }).isDisabled());
  await visit.goTo('#broker');
  await visit.sees('#reload-told', 'admin_allow_changes');
  visit.check('Read the files again is disabled', await visit.page.getByRole('button', { name: 'Read the files again' }).isDisabled());
  await visit.goTo('#topics/kept%2Fone');
  await visit.sees('#kept pre', 'one');
  visit.check('Delete is disabled', await visit.page.getByRole('button', { name: 'Delete…' }).isDisabled());
}

/** Who asks is asked: a token or a user, kept for the tab, forgotten when told. */
async function entry(visit) {
  const { page } = await visit.open().then(() => visit);
  const [user, secret] = [() => visit.field('User'), () => visit.field('Token or password')];
  const letIn = () => page.getByRole('button', { name: 'Let me in' }).click();
  await visit.sees('#entry-dialog', 'The broker wants to know who asks');
  await secret().fill('not-the-token-0123456789');
  await letIn();
  await visit.sees('#entry-told', 'The broker does not know this token');
  visit.check('nothing is shown before', (await visit.reads('#facts')) === '', await visit.reads('#facts'));
  await secret().fill(visit.wanted.token);
  await page.keyboard.press('Enter');
  await visit.sees('#facts', 'shards');
  await page.reload();
  await visit.sees('#facts', 'shards');
  const kept = await page.evaluate(() => [JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]);
  visit.check(
    'it is kept in sessionStorage and nowhere else',
    kept[0].includes(visit.wanted.token) && kept[1] === '{}' && kept[2] === '',
    kept,
  );
  await page.getByRole('button', { name: 'Log out' }).click();
  await visit.sees('#entry-dialog', 'The broker wants to know who asks');
  await user().fill('ann');
  await secret().fill('wrong');
  await letIn();
  await visit.sees('#entry-told', 'the password is wrong');
  await secret().fill(visit.wanted.password);
  await letIn();
  await visit.sees('#facts', 'shards');
  await visit.sees('#slow', 'Nobody is slow');
  await visit.sees('#talkers', 'Nobody sends anything now');
  return { isExpected: (error) => error.includes('401') };
}

/** Ids, users, topics and payloads that are HTML stay text, wherever they are shown. */
async function hostile(visit) {
  const id = '<img src=x onerror="window.hostile=1">';
  const topic = '<script>window.hostile=2</script>/a';
  await visit.open();
  await visit.sees('#hot', topic);
  await visit.sees('#slow', id);
  await visit.seesNoElements('overview');
  await visit.page.locator('#slow').getByRole('link', { name: id }).click();
  await visit.sees('#client-detail h2', id);
  await visit.sees('#client-detail dl', '<iframe src=//evil.example>');
  await visit.seesNoElements('client');
  await visit.page.getByRole('button', { name: 'Disconnect…' }).click();
  await visit.sees('#sure-text', id);
  await visit.page.getByRole('button', { name: 'Cancel' }).click();
  await visit.goTo('#clients');
  await visit.sees('#client-table', id);
  await visit.sees('#client-table', '[U+202E]');
  await visit.goTo(`#topics/${encodeURIComponent(topic)}`);
  await visit.sees('#audience', id);
  await visit.sees('#kept pre', '<svg onload=window.hostile=3>');
  await visit.sees('#retained', topic);
  await visit.seesNoElements('topic');
  await visit.goTo('#refusals');
  await visit.sees('#denials', id);
  await visit.seesNoElements('denials');
  const policy = (await (await visit.context.request.get(visit.address)).headers())['content-security-policy'] ?? '';
  const isStrict =
    policy.includes("script-src 'self'") && policy.includes("require-trusted-types-for 'script'") && !policy.includes('unsafe');
  visit.check('the policy would stop it, too', isStrict, policy);
}

/** All of it without a mouse. */
async function keyboard(visit) {
  const { page } = await visit.open().then(() => visit);
  await visit.sees('#facts', 'shards');
  await page.keyboard.press('Tab');
  visit.check('first comes the way past the head', (await visit.focused()) === 'skip', await visit.focused());
  await page.keyboard.press('Enter');
  visit.check('which leads to the content', (await visit.focused()) === 'content', await visit.focused());
  await page.keyboard.press('Shift+Tab');
  visit.check('before it stands the tab', (await visit.focused()) === 'tab-overview', await visit.focused());
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  visit.check('the focus is seen', outline !== 'none', outline);
  for (const part of [...PARTS.slice(1), PARTS[0]]) {
    await page.keyboard.press('ArrowRight');
    visit.check(`an arrow key leads to ${part}`, (await visit.focused()) === `tab-${part}`, await visit.focused());
    visit.check(`and shows it`, await page.locator(`#part-${part}`).isVisible());
  }
  await page.keyboard.press('End');
  visit.check('End is the last tab', (await visit.focused()) === 'tab-broker', await visit.focused());
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  await visit.sees('#client-table', 'victim');
  await page.keyboard.press('Tab');
  visit.check('after the tabs comes the search', (await visit.focused()) === 'client-filter', await visit.focused());
  await page.keyboard.type('victim');
  await visit.sees('#client-pager', '1 shown');
  for (const _ of [1, 2, 3, 4]) await page.keyboard.press('Tab');
  visit.check('then what was found', (await visit.focused()) === 'victim', await visit.focused());
  await page.keyboard.press('Enter');
  await visit.sees('#client-detail h2', 'victim');
  visit.check('the focus is at its name', (await visit.focused()) === 'victim', await visit.focused());
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await visit.sees('#sure-dialog', 'Disconnect this client?');
  await page.keyboard.press('Escape');
  await page.locator('#sure-dialog').waitFor({ state: 'hidden' });
  visit.check('the focus is back at the button', (await visit.focused()) === 'Disconnect…', await visit.focused());
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll('button, input, select, textarea, a[href]')]
      .filter((one) => !(one.labels?.length > 0 || one.textContent.trim() || one.getAttribute('aria-label')))
      .map((one) => one.outerHTML),
  );
  visit.check('all that can be used has a name', nameless.length === 0, nameless);
}

/** A phone of 360 px, in the dark and by day. */
async function narrow(visit) {
  const places = [...PARTS.map((part) => `#${part}`), '#clients/slow-reader', '#topics/flood%2Fhot'];
  for (const colorScheme of ['dark', 'light']) {
    await visit.open('', { width: 360, height: 780, colorScheme });
    await visit.sees('#slow', 'slow-reader');
    const back = await visit.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const isDark = Number(/\d+/.exec(back)[0]) < 128;
    visit.check(`${colorScheme} is ${colorScheme}`, isDark === (colorScheme === 'dark'), back);
    for (const place of places) {
      await visit.goTo(place);
      if (place.startsWith('#clients/')) await visit.sees('#client-detail .because', 'Slow:');
      if (place.startsWith('#topics/')) await visit.sees('#audience', 'hot-reader');
      if (place === '#refusals') await visit.sees('#denials', 'denied-device');
      await visit.fitsInWidth(`${place}, ${colorScheme}`);
    }
  }
}

/** A client of MQTT 5.0 in the page. */
async function tryout(visit) {
  const { page } = await visit.open('#tryout').then(() => visit);
  await page.waitForFunction(() => document.getElementById('join-url').value.startsWith('ws://'));
  const url = await visit.field('WebSocket address').inputValue();
  visit.check('the address is one of the broker', url.includes(`:${visit.wanted.ws}/`), url);
  await visit.field('User').fill('ann');
  await visit.field('Password').fill('wrong');
  await page.getByRole('button', { name: 'Connect', exact: true }).click();
  await visit.sees('#join-answer', /0x8[67]/);
  await visit.field('Password').fill(visit.wanted.password);
  await page.getByRole('button', { name: 'Connect', exact: true }).click();
  await visit.sees('#join-answer', 'Connected as dashboard-');
  await page.locator('#subscribe-filter').fill('try/#');
  await page.locator('#subscribe-qos').selectOption('1');
  await page.getByRole('button', { name: 'Subscribe' }).click();
  await visit.sees('#subscriptions', 'granted QoS 1');
  for (const [topic, qos, payload] of [
    ['try/zero', '0', 'nought'],
    ['try/one', '1', 'Grüße <b>an alle</b>'],
  ]) {
    await page.locator('#publish-topic').fill(topic);
    await page.locator('#publish-qos').selectOption(qos);
    await page.locator('#publish-payload').fill(payload);
    await page.getByRole('button', { name: 'Publish' }).click();
    await visit.sees(row('#came', topic), payload);
  }
  await visit.sees('#publish-answer', '0x00 success');
  await page.locator('#publish-topic').fill('not/for/ann');
  await page.getByRole('button', { name: 'Publish' }).click();
  await visit.sees('#publish-answer', '0x87');
  await page.locator('#publish-topic').fill('no/+/topic');
  await page.getByRole('button', { name: 'Publish' }).click();
  await visit.sees('#join-answer', /Not connected: the broker says 0x/);
  visit.foreign = visit.foreign.filter((one) => !one.startsWith(url));
}

/** Packets as they come and go: by topic, by client, with payloads; what clients wrote is text there, too. */
async function trace(visit) {
  const { page } = await visit.open('#clients/hot-publisher').then(() => visit);
  await page.getByRole('link', { name: 'Trace its packets' }).click();
  await visit.sees('#packets .packet.in', 'flood/hot');
  await visit.sees('#trace-told', 'Tracing');
  await page.getByRole('button', { name: 'Stop' }).click();
  await visit.sees('#trace-told', 'Stopped');
  await visit.field('payloads, too').check();
  await page.getByRole('button', { name: 'Start' }).click();
  await visit.sees('#packets .packet pre', 'x');
  await visit.goTo(`#trace/topic/${encodeURIComponent('#')}`);
  await visit.sees('#packets', 'window.hostile=2');
  await visit.seesNoElements('trace');
  await visit.goTo('#overview');
  await visit.goTo('#trace');
  await visit.sees('#trace-told', 'Stopped');
}

/** A broker that ends is missed at once, and what it said last stays. */
async function silence(visit) {
  await visit.open();
  await visit.sees('#facts', 'shards');
  process.kill(Number(visit.wanted.process), 'SIGTERM');
  await visit.sees('#state', /No answer for \d/);
  await visit.sees('#problems', 'The broker does not answer');
  await visit.sees('#problems', 'What stands below is what it said last');
  await visit.sees('#facts', 'shards');
  return { isExpected: (error) => error.includes('ERR_') };
}

export const WALKS = { parts, incident, kick, readOnly, entry, hostile, keyboard, narrow, tryout, trace, silence };
