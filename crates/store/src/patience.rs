//! Small differences between the clocks of two hosts. Icechunk dates each change by the clock of the host that makes it, and
//! refuses one that is not later than the last: then that time is waited for, and the change made again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::format::IcechunkFormatErrorKind;
use icechunk::ops::gc::GCError;
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use icechunk::session::{SessionError, SessionErrorKind};
use tokio::time::Instant;

/// How far two clocks may differ before nothing is written. Less is waited for.
pub(crate) const TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// How long a host in arrears tries, beside one ahead that writes all the time.
const PATIENCE: Duration = Duration::from_secs(300);

/// Beyond the last change's time.
const STEP: Duration = Duration::from_millis(5);

/// An error that may say that a change is dated too early.
pub(crate) trait Untimely {
    /// The time of the last change and that of the refused one.
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)>;

    /// The time of the last change and how far that is ahead of this host.
    fn ahead(&self) -> Option<(DateTime<Utc>, TimeDelta)> {
        self.times().map(|(last, refused)| (last, last - refused))
    }
}

impl Untimely for IcechunkFormatErrorKind {
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        match self {
            Self::InvalidUpdateTimestamp { latest_time, new_time } => Some((*latest_time, *new_time)),
            _ => None,
        }
    }
}

impl Untimely for RepositoryError {
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        match &self.kind {
            RepositoryErrorKind::FormatError(kind) => kind.times(),
            _ => None,
        }
    }
}

impl Untimely for SessionError {
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        match &self.kind {
            SessionErrorKind::FormatError(kind)
            | SessionErrorKind::RepositoryError(RepositoryErrorKind::FormatError(kind)) => kind.times(),
            SessionErrorKind::InvalidSnapshotTimestampOrdering { parent, child } => Some((*parent, *child)),
            _ => None,
        }
    }
}

impl Untimely for GCError {
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        match self {
            Self::Repository(error) => error.times(),
            Self::FormatError(error) => error.kind.times(),
            _ => None,
        }
    }
}

/// The patience of one change.
pub(crate) struct Patience(Instant);

impl Patience {
    pub(crate) fn new() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Waits until a change that was dated too early can be made again; false where it was refused for something else, or
    /// waiting is of no use.
    pub(crate) async fn outlasts(&self, error: &impl Untimely) -> bool {
        let Some((_, ahead)) = error.ahead().filter(|(_, ahead)| *ahead <= TOLERANCE * 2) else { return false };
        let wait = ahead.to_std().unwrap_or_default() + STEP;
        if Instant::now() + wait > self.0 {
            return false;
        }
        tracing::info!("the store's last change is of a host whose clock is ahead: waiting {} ms", wait.as_millis());
        tokio::time::sleep(wait).await;
        true
    }
}

/// Makes a change, again where it was dated too early.
pub(crate) async fn timely<T, E, F>(mut change: impl FnMut() -> F) -> Result<T, E>
where
    E: Untimely,
    F: Future<Output = Result<T, E>>,
{
    let patience = Patience::new();
    loop {
        match change().await {
            Err(error) if patience.outlasts(&error).await => {}
            outcome => return outcome,
        }
    }
}

/// A length of time for people.
pub(crate) fn span(time: TimeDelta) -> String {
    let seconds = time.abs().num_seconds();
    let (minutes, hours) = ((seconds + 30) / 60, (seconds + 1800) / 3600);
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{minutes} min"),
        7200..172_800 if minutes % 60 == 0 => format!("{} h", minutes / 60),
        7200..172_800 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(ahead: TimeDelta) -> RepositoryError {
        let new_time = DateTime::<Utc>::UNIX_EPOCH;
        let kind = IcechunkFormatErrorKind::InvalidUpdateTimestamp { latest_time: new_time + ahead, new_time };
        RepositoryError::capture(RepositoryErrorKind::FormatError(kind))
    }

    #[tokio::test]
    async fn small_skews_are_waited_for_and_great_ones_not() {
        let began = Instant::now();
        let mut tries = 0;
        let made: Result<(), RepositoryError> = timely(|| {
            tries += 1;
            let outcome = if tries < 3 { Err(refused(TimeDelta::milliseconds(20))) } else { Ok(()) };
            std::future::ready(outcome)
        })
        .await;
        assert!(made.is_ok() && tries == 3);
        assert!(began.elapsed() >= Duration::from_millis(40));

        assert!(!Patience::new().outlasts(&refused(TimeDelta::hours(3))).await);
        let other = RepositoryError::capture(RepositoryErrorKind::ReadonlyStorage(String::new()));
        assert!(!Patience::new().outlasts(&other).await);
        let at_an_end = Patience(Instant::now());
        assert!(!at_an_end.outlasts(&refused(TimeDelta::seconds(50))).await);
    }

    #[test]
    fn lengths_are_told_for_people() {
        for (seconds, expected) in [
            (61, "61 s"),
            (-119, "119 s"),
            (120, "2 min"),
            (10_799, "3 h"),
            (10_800, "3 h"),
            (12_300, "3 h 25 min"),
            (172_800, "2 days"),
            (40 * 86_400, "40 days"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), expected);
        }
    }
}
