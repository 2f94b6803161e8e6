// refusals: every reason for which something was dropped, denied or cut short, and the last denials. Must not: know reasons: the API
// names and explains them.

const REFUSALS_MS = 2000;

/** Who is denied the same again and again has one row, with the time of the last one. */
function grouped(denials) {
  const groups = new Map();
  for (const denial of denials.sort((a, b) => b.at_unix_ms - a.at_unix_ms)) {
    const { client_id: id, user, access, topic, rule } = denial;
    const key = JSON.stringify([id, user, access, topic, rule]);
    const group = groups.get(key);
    if (group) group.times += 1;
    else groups.set(key, { ...denial, key, times: 1 });
  }
  return [...groups.values()];
}

const denialTable = new Table($('denials'), {
  label: 'Last denials',
  key: (denial) => denial.key,
  empty: () => `Nobody was denied anything since the start${upFor()}.`,
  columns: [
    {
      label: 'Last at',
      text: (denial) => clock(denial.at_unix_ms),
      tip: (denial) => new Date(denial.at_unix_ms).toISOString(),
      isNumber: true,
    },
    { label: 'Client', text: (denial) => shown(denial.client_id), href: (denial) => clientLink(denial.client_id), isName: true },
    { label: 'User', text: (denial) => shown(denial.user), isName: true },
    { label: 'Address', text: (denial) => shown(denial.address), isName: true, isMinor: true },
    { label: 'May not', text: (denial) => denial.access },
    { label: 'Times', text: (denial) => count(denial.times), isNumber: true },
    { label: 'Topic', text: (denial) => shown(denial.topic), href: (denial) => topicLink(denial.topic), isName: true },
    { label: 'Rule', text: (denial) => shown(denial.rule), tip: (denial) => shown(denial.rule), isWide: true },
  ],
});

const KINDS = { drop: 'dropped', denial: 'denied', limit: 'cut short' };

const reasonTable = new Table($('reasons'), {
  label: 'Reasons',
  key: (reason) => reason.name,
  empty: nothingRefused,
  columns: [reasonColumns[0], { label: 'Kind', text: (reason) => KINDS[reason.kind] ?? reason.kind }, ...reasonColumns.slice(1)],
});

const refusalsPart = {
  polls: [
    new Poll(REFUSALS_MS, () =>
      Promise.all([
        fillFrom(denialTable, async () => grouped((await api('denials')).items)),
        fillFrom(reasonTable, async () => {
          const { items } = await api('drops');
          const silent = items.filter((reason) => !(reason.count > 0)).map((reason) => reason.name);
          setText($('reasons-zero'), silent.length > 0 ? `Never since the start: ${silent.join(', ')}.` : '');
          return bitten(items);
        }),
      ]),
    ),
  ],
};
