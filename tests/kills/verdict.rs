//! What was found: counts, and the first complaints in words.

/// Complaints that are kept.
const COMPLAINTS_MAX: usize = 30;

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Messages that arrived, the first time each.
    pub(crate) delivered: u64,
    /// Acknowledged messages that did not arrive.
    pub(crate) lost: u64,
    /// QoS 2 messages that arrived more than once.
    pub(crate) duplicated: u64,
    /// QoS 1 messages that did, as they may.
    pub(crate) repeated: u64,
    /// Messages that arrived after a later one.
    pub(crate) disordered: u64,
    /// Sessions that were there and are not.
    pub(crate) sessions_lost: u64,
    /// Subscriptions, so.
    pub(crate) subscriptions_lost: u64,
    /// Topics whose retained message is older than the last acknowledged.
    pub(crate) retained_lost: u64,
    /// All else.
    pub(crate) faults: u64,
    pub(crate) complaints: Vec<String>,
}

impl Verdict {
    pub(crate) fn complain(&mut self, text: String) {
        self.faults += 1;
        self.note(text);
    }

    /// Words for what is counted elsewhere.
    pub(crate) fn note(&mut self, text: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(text);
        }
    }

    pub(crate) fn note_session(&mut self, is_expected: bool, is_present: bool, name: &str) {
        if is_expected && !is_present {
            self.sessions_lost += 1;
            self.note(format!("{name}: its session is lost"));
        }
    }

    pub(crate) fn add(&mut self, other: &mut Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.repeated += other.repeated;
        self.disordered += other.disordered;
        self.sessions_lost += other.sessions_lost;
        self.subscriptions_lost += other.subscriptions_lost;
        self.retained_lost += other.retained_lost;
        self.faults += other.faults;
        let room = COMPLAINTS_MAX.saturating_sub(self.complaints.len());
        self.complaints.extend(other.complaints.drain(..).take(room));
    }

    /// Nothing that must not be.
    pub(crate) fn is_good(&self) -> bool {
        let counts = [self.lost, self.duplicated, self.disordered, self.sessions_lost, self.subscriptions_lost];
        counts.iter().all(|count| *count == 0) && self.retained_lost == 0 && self.faults == 0
    }

    /// All counts in one line.
    pub(crate) fn told(&self) -> String {
        format!(
            "{} lost, {} duplicated at QoS 2, {} sessions lost, {} subscriptions lost, {} retained lost, {} out of order, {} other faults; \
             {} delivered, {} repeated at QoS 1",
            self.lost,
            self.duplicated,
            self.sessions_lost,
            self.subscriptions_lost,
            self.retained_lost,
            self.disordered,
            self.faults,
            self.delivered,
            self.repeated
        )
    }
}
