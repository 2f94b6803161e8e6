// main: the state of the broker, the problems on top, the tabs, who asks. Must not: draw figures.

const STATE_MS = 1000;

const parts = {
  overview: overviewPart,
  clients: clientsPart,
  topics: topicsPart,
  refusals: refusalsPart,
  tryout: tryoutPart,
  trace: tracePart,
  broker: brokerPart,
};
const names = Object.keys(parts);
const state = { answeredAt: null, askedAt: Date.now(), error: null, shown: null, hash: null };

// ---- State and problems ----

const SEVERITIES = { critical: 'Critical', warning: 'Warning' };

/** The problems to show, the worst first: those of the broker, slow clients, and that it does not answer. */
function problemsNow() {
  const told = broker.overview?.problems ?? [];
  const isCritical = (problem) => problem.severity === 'critical';
  const all = [...told.filter(isCritical), ...told.filter((problem) => !isCritical(problem)), ...slowProblems()];
  if (state.error === null || state.error.status === 401) return all;
  const since = (Date.now() - (state.answeredAt ?? state.askedAt)) / 1000;
  const isSilent = state.error.status === 0;
  const text = isSilent ? 'The broker does not answer.' : `The broker's answer is ${state.error.status}: ${state.error.message}`;
  const last = state.answeredAt === null ? 'It has not answered since this page was opened.' : 'What stands below is what it said last.';
  const remedy = isSilent ? `${last} Look whether its process runs, and at the end of its log.` : last;
  return [{ severity: 'critical', text, remedy, since }, ...all];
}

/** Where only numbers have changed, the rows stay, and with them the focus. */
function drawProblems(problems) {
  const host = $('problems');
  const key = JSON.stringify(problems.map(({ severity, text, href }) => [severity, text.replace(/[\d.\u202f]+/g, '0'), href ?? '']));
  if (host.dataset.key !== key) {
    host.dataset.key = key;
    host.replaceChildren(
      ...problems.map(({ severity, href }) =>
        el(
          'div',
          { class: `problem ${severity}` },
          el('b', {}, SEVERITIES[severity] ?? severity),
          el(href ? 'a' : 'span', { class: 'what', href }),
          el('span', { class: 'remedy' }),
        ),
      ),
    );
  }
  problems.forEach(({ text, remedy }, at) => {
    const [, what, then] = host.children[at].children;
    setText(what, sentence(shown(text)));
    setText(then, remedy ? sentence(shown(remedy)) : '');
  });
}

/** The API's words stand alone here. */
function sentence(text) {
  const begun = /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function stateNow(problems) {
  const isSilent = state.error !== null && state.error.status === 0;
  if (isSilent) return ['critical', `No answer for ${span((Date.now() - (state.answeredAt ?? state.askedAt)) / 1000)}`];
  if (state.error?.status === 401) return ['warning', 'Who asks?'];
  if (state.error) return ['critical', 'The broker refuses to say'];
  if (!broker.overview) return ['', 'Asking the broker…'];
  if (!broker.overview.ready) return ['warning', shown(broker.overview.phase)];
  const critical = problems.filter((problem) => problem.severity === 'critical').length;
  const warnings = problems.length - critical;
  if (critical > 0) return ['critical', `${critical} critical${warnings > 0 ? `, ${many(warnings, 'warning')}` : ''}`];
  return warnings > 0 ? ['warning', many(warnings, 'warning')] : ['good', 'All is well'];
}

function drawState() {
  const problems = problemsNow();
  drawProblems(problems);
  const [tone, text] = stateNow(problems);
  $('state').className = `state ${tone}`;
  setText($('state-text'), text);
  const title = `${tone === 'critical' ? '✖ ' : tone === 'warning' ? '▲ ' : ''}ringmq: ${text}`;
  if (document.title !== title) document.title = title;
  $('content').classList.toggle('stale', state.error !== null && state.error.status !== 401);
  setHidden($('leave'), sessionStorage.getItem(ENTRY_KEY) === null);
}

const MORE_LISTENERS = 2;

function drawFacts(overview) {
  const listeners = overview.listeners.slice(0, MORE_LISTENERS).map(({ protocol, address }) => `${protocol} ${address}`);
  const rest = overview.listeners.length - listeners.length;
  const facts = [
    overview.version,
    `up ${span(overview.uptime_secs)}`,
    many(overview.shards, 'shard'),
    `${listeners.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`,
    // All of it stands with the configuration.
    overview.durability.replace(/ \(.*/s, ''),
  ];
  const host = $('facts');
  while (host.children.length < facts.length) host.append(el('span'));
  facts.forEach((fact, at) => setText(host.children[at], shown(fact)));
}

const overviewPoll = new Poll(OVERVIEW_MS, async () => {
  try {
    const overview = await api('overview');
    broker.overview = overview;
    state.answeredAt = Date.now();
    state.error = null;
    if (!Poll.isAnswered) begin();
    drawFacts(overview);
    drawOverview(overview, state.answeredAt);
    if (state.shown === 'broker') brokerPart.draw();
    if (state.shown === 'tryout') proposeAddresses();
    clientsPart.detail?.drawKick();
  } catch (error) {
    state.error = error;
  }
  drawState();
});

overviewPoll.isFirst = true;

/** What the parts show when the broker has answered for the first time. */
function begin() {
  Poll.isAnswered = true;
  slowPoll.start();
  go();
}

// ---- Tabs ----

/** `#clients/ID` is the part `clients` with `[ID]`. */
function placeOf(hash) {
  const [name, ...rest] = hash.replace(/^#/, '').split('/');
  const words = rest.map((word) => {
    try {
      return decodeURIComponent(word);
    } catch {
      return word;
    }
  });
  return [names.includes(name) ? name : 'overview', words];
}

function go() {
  state.hash = location.hash;
  const [name, words] = placeOf(location.hash);
  for (const other of names) {
    const isShown = other === name;
    setHidden($(`part-${other}`), !isShown);
    const tab = $(`tab-${other}`);
    tab.setAttribute('aria-selected', String(isShown));
    tab.tabIndex = isShown ? 0 : -1;
  }
  if (state.shown !== name) {
    parts[state.shown]?.hide?.();
    for (const poll of parts[state.shown]?.polls ?? []) poll.stop();
    if (state.shown !== null) scrollTo(0, 0);
  }
  state.shown = name;
  $('problems').classList.toggle('brief', name !== 'overview');
  if (!Poll.isAnswered) return;
  parts[name].show?.(words);
  for (const poll of parts[name].polls) poll.start();
}

/** The browser tells of a new place late; keys are faster. */
function goIfElsewhere() {
  if (state.hash !== location.hash) go();
}

function goToTab(name) {
  location.hash = `#${name}`;
  goIfElsewhere();
  $(`tab-${name}`).focus();
}

for (const name of names) $(`tab-${name}`).addEventListener('click', () => goToTab(name));
document.querySelector('[role=tablist]').addEventListener('keydown', (event) => {
  const at = names.indexOf(state.shown);
  const places = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: names.length - 1 };
  if (places[event.key] === undefined) return;
  event.preventDefault();
  goToTab(names.at(places[event.key] % names.length));
});
$('skip').addEventListener('click', (event) => {
  event.preventDefault();
  $('content').focus();
});
addEventListener('hashchange', goIfElsewhere);

// ---- Who asks ----

function askForEntry(tried) {
  const dialog = $('entry-dialog');
  if (dialog.open || sessionStorage.getItem(ENTRY_KEY) !== tried) return;
  sessionStorage.removeItem(ENTRY_KEY);
  const isUser = tried?.startsWith('Basic ');
  setText($('entry-told'), tried === null ? '' : `The broker does not know this ${isUser ? 'user, or the password is wrong' : 'token'}.`);
  $('entry-secret').value = '';
  dialog.showModal();
  $('entry-secret').focus();
}

onEntryWanted.call = askForEntry;

/** The header of a user with a password, or of a token. */
function entryOf(user, secret) {
  if (user === '') return `Bearer ${secret.trim()}`;
  return `Basic ${btoa(String.fromCharCode(...utf8.encode(`${user}:${secret}`)))}`;
}

$('entry-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const entry = entryOf($('entry-user').value, $('entry-secret').value);
  // A header takes visible letters only; others are in no token.
  if (!/^\w+ [\x21-\x7e]+$/.test(entry)) {
    setText($('entry-told'), 'A token has no blanks and plain letters only.');
    return;
  }
  sessionStorage.setItem(ENTRY_KEY, entry);
  $('entry-dialog').close();
  state.error = null;
  drawState();
  askAgain();
});
// Without it there is nothing to see.
$('entry-dialog').addEventListener('cancel', (event) => event.preventDefault());
$('leave').addEventListener('click', () => {
  sessionStorage.removeItem(ENTRY_KEY);
  location.reload();
});

// ---- Begin ----

makeTiles();
go();
overviewPoll.start();
setInterval(drawState, STATE_MS);
