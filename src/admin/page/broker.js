// broker: how the broker was set up. Must not: change more than to read its files again.

const listenerTable = new Table($('listeners'), {
  label: 'Listeners',
  key: (listener) => `${listener.protocol} ${listener.address}`,
  empty: 'There are no listeners: no client can come.',
  columns: [
    { label: 'Protocol', text: (listener) => listener.protocol },
    { label: 'Address', text: (listener) => shown(listener.address), isName: true },
  ],
});

async function loadConfig() {
  try {
    const { text, file } = await api('config');
    setText($('config'), text);
    setText($('config-told'), `${file ? `From ${file}` : 'Without a file: defaults and the command line'}. What is secret is masked.`);
  } catch (error) {
    setText($('config-told'), error.message);
  }
}

$('reload').addEventListener('click', () =>
  askIfSure({
    title: 'Read the files again?',
    text: 'Users, rights, certificates and listeners are as the files say from then on; a mistake in them changes nothing.',
    yes: 'Read them',
    run: async () => {
      setText($('reload-told'), '');
      const { told } = await api('reload', { method: 'POST' });
      setText($('reload-told'), told);
      await loadConfig();
    },
  }),
);

const brokerPart = {
  polls: [],

  show() {
    this.draw();
    loadConfig();
  },

  draw() {
    listenerTable.update(broker.overview?.listeners ?? []);
    setText($('durability'), shown(broker.overview?.durability ?? ''));
    $('reload').disabled = !mayChange();
    if (broker.overview && !mayChange()) setText($('reload-told'), CHANGES_ARE_OFF);
  },
};
