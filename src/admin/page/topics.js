// topics: who gets a topic and why, what is retained, what is hot. Must not: publish.

const AUDIENCE_SHOWN = 100;
const RETAINED_SHOWN = 50;
const TOPICS_MS = 2000;
const HOTTEST_SHOWN = 20;

const hottestTable = new Table($('hottest'), {
  label: 'Hottest topics',
  key: (topic) => topic.topic,
  empty: 'Nothing was published in the last seconds.',
  columns: topicColumns,
});

const retainedTable = new Table($('retained'), {
  label: 'Retained messages',
  key: (one) => one.topic,
  empty: () => ($('retained-filter').value ? 'Nothing is retained that this filter matches.' : 'Nothing is retained.'),
  columns: [
    { label: 'Topic', text: (one) => shown(one.topic), href: (one) => topicLink(one.topic), isName: true },
    { label: 'QoS', text: (one) => `${one.qos}`, isNumber: true },
    { label: 'Payload', text: (one) => bytes(one.payload_bytes), isNumber: true },
    { label: 'Expires in', text: (one) => (isNumber(one.expires_secs) ? span(one.expires_secs) : 'never'), isNumber: true },
  ],
});

const retainedPager = new Pager($('retained-pager'), retainedTable, (cursor) =>
  api('retained', { query: { filter: $('retained-filter').value, limit: RETAINED_SHOWN, cursor } }),
);

$('retained-form').addEventListener('submit', (event) => {
  event.preventDefault();
  retainedPager.begin();
});

// ---- One topic ----

const audienceTable = new Table($('audience'), {
  label: 'Clients that get it',
  key: (client) => client.client_id,
  empty: '',
  columns: [
    { label: 'Client', text: (client) => shown(client.client_id), href: (client) => clientLink(client.client_id), isName: true },
    { label: 'By', text: (client) => shown((client.filters ?? []).join(', ')), isName: true },
    { label: 'QoS', text: (client) => `${client.qos}`, isNumber: true },
    { label: 'Shard', text: (client) => `${client.shard}`, isNumber: true },
    { label: 'State', text: (client) => (client.connected ? 'connected' : 'away'), tone: (client) => (client.connected ? 'good' : 'dim') },
  ],
});

const groupTable = new Table($('audience-shared'), {
  label: 'Shared subscriptions: one member of each gets it',
  key: (group) => `${group.group} ${group.filter}`,
  empty: '',
  columns: [
    { label: 'Shared subscription', text: (group) => shown(`$share/${group.group}/${group.filter}`), isName: true },
    {
      label: 'Members, one of which gets it',
      text: (group) => count(Array.isArray(group.members) ? group.members.length : group.members),
      isNumber: true,
    },
  ],
});

function audienceText(audience) {
  const groups = audience.shared.length;
  const members = groups > 0 ? ` and one member of each of ${many(groups, 'shared subscription')}` : '';
  const told = audience.clients_total === 0 && groups === 0 ? 'Nobody gets it.' : `${many(audience.clients_total, 'client')}${members}.`;
  const rest = audience.clients_total > audience.clients.length ? ` The first ${audience.clients.length} are shown.` : '';
  return `${told}${rest}${isNumber(audience.published) ? ` ${many(audience.published, 'message')} published lately.` : ''}`;
}

class Topic {
  constructor(name) {
    this.name = name;
    this.keptText = null;
    setText($('why-answer'), '');
    $('kept').replaceChildren(el('p', { class: 'note' }, 'Asking the broker…'));
  }

  async load() {
    try {
      const audience = await api(`topics/${part(this.name)}/audience`, { query: { limit: '' } });
      if (topicsPart.topic !== this) return;
      setText($('audience-told'), audienceText(audience));
      audienceTable.update(audience.clients.slice(0, AUDIENCE_SHOWN));
      groupTable.update(audience.shared);
      this.showKept(audience.retained ? await this.kept() : null);
    } catch (error) {
      if (topicsPart.topic !== this) return;
      setText($('audience-told'), error.message);
      audienceTable.update([]);
      groupTable.update([]);
      this.showKept(null, 'Not known.');
    }
  }

  async kept() {
    try {
      return await api(`retained/${part(this.name)}`);
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  showKept(kept, otherwise = 'Nothing is retained.') {
    if (topicsPart.topic !== this) return;
    const text = kept ? `${kept.payload_base64} ${kept.qos} ${kept.payload_bytes} ${mayChange()}` : otherwise;
    setText($('kept-expiry') ?? el('i'), kept ? expiryText(kept) : '');
    // Who reads or selects it is not disturbed.
    if (text === this.keptText) return;
    this.keptText = text;
    if (!kept) {
      $('kept').replaceChildren(el('p', { class: 'note' }, otherwise));
      return;
    }
    const raw = kept.payload_base64 === null ? null : fromBase64(kept.payload_base64);
    const clear = el(
      'button',
      {
        type: 'button',
        class: 'small',
        disabled: !mayChange(),
        title: mayChange() ? null : CHANGES_ARE_OFF,
        onclick: () => this.askToClear(),
      },
      'Delete…',
    );
    $('kept').replaceChildren(
      el(
        'p',
        { class: 'told' },
        `${bytes(kept.payload_bytes)}, QoS ${kept.qos}${kept.published_by ? `, published by ${shown(kept.published_by)}` : ''}`,
        el('span', { id: 'kept-expiry' }, expiryText(kept)),
        ' ',
        clear,
      ),
      el(
        'pre',
        { tabindex: '0', 'aria-label': 'Payload' },
        raw === null ? 'too large to be shown' : raw.length === 0 ? '(empty)' : payloadText(raw),
      ),
    );
  }

  askToClear() {
    askIfSure({
      title: 'Delete this retained message?',
      text: `Who subscribes to ${shown(this.name)} from then on gets no first message.`,
      yes: 'Delete',
      run: async () => {
        await api('retained', { method: 'DELETE', query: { filter: this.name } });
        await this.load();
        retainedPager.show();
      },
    });
  }
}

function expiryText(kept) {
  return isNumber(kept.expires_secs) ? `, expires in ${span(kept.expires_secs)}` : '';
}

$('topic-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = $('topic-name').value;
  if (name !== '') location.hash = topicLink(name);
});

$('why-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const answer = $('why-answer');
  const query = {
    user: $('why-user').value,
    client: $('why-client').value,
    action: $('why-action').value,
    topic: topicsPart.topic?.name,
    listener: $('why-port').value,
  };
  try {
    const { allowed, text, user, user_is_of_session: isOfSession } = await api('why', { query });
    answer.className = `answer ${allowed ? 'good' : 'bad'}`;
    setText(answer, shown(`${text}${isOfSession ? `, for user ${user}, whose session it is` : ''}`));
  } catch (error) {
    answer.className = 'answer bad';
    setText(answer, error.message);
  }
});

const topicsPart = {
  topic: null,
  polls: [
    new Poll(TOPICS_MS, async () => topicsPart.topic?.load()),
    new Poll(TOPICS_MS, () => fillFrom(hottestTable, () => hotTopics(HOTTEST_SHOWN))),
  ],

  show([name]) {
    setHidden($('topic-detail'), name === undefined);
    if (name === undefined) this.topic = null;
    else if (this.topic?.name !== name) {
      this.topic = new Topic(name);
      $('topic-name').value = name;
    }
    retainedPager.begin();
  },
};
