//! Reading a source by windows of time, where it gives only so many records for one question.

use std::collections::VecDeque;
use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::Stream;
use headwater_connect::ConnectorError;

/// The records from an instant (inclusive) to another (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first instant that counts.
    pub from: DateTime<Utc>,
    /// The first that does not count any more.
    pub to: DateTime<Utc>,
}

impl Window {
    /// How long it is.
    pub fn width(&self) -> TimeDelta {
        self.to - self.from
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        write!(f, "from {} (inclusive) to {} (exclusive)", shown(self.from), shown(self.to))
    }
}

/// A stretch of time in windows: in order, without a gap, none over another.
///
/// [`split`](TimeWindows::split) takes a window back that holds too much and gives it out again in halves. The
/// windows after it are as narrow, and become wider again while they are not split.
#[derive(Debug, Clone)]
pub struct TimeWindows {
    /// Where the windows not yet given out begin.
    at: DateTime<Utc>,
    to: DateTime<Utc>,
    widest: TimeDelta,
    narrowest: TimeDelta,
    width: TimeDelta,
    /// Given out since the last that was split.
    unsplit: u32,
    /// Parts of split windows, the next one first.
    parts: VecDeque<Window>,
}

/// Windows that are not split for so long become wider.
const CALM: u32 = 4;

impl TimeWindows {
    /// The time from `from` (inclusive) to `to` (exclusive) in windows of at most `width`; no window where it is empty. Windows
    /// are whole seconds from each other: sources that look at no more do not miss what lies between.
    pub fn new(from: DateTime<Utc>, to: DateTime<Utc>, width: TimeDelta) -> Self {
        let narrowest = TimeDelta::seconds(1);
        let widest = whole(width, narrowest);
        Self { at: from, to, widest, narrowest, width: widest, unsplit: 0, parts: VecDeque::new() }
    }

    /// The same with windows of at least `width`, which also is what their lengths are multiples of: the resolution of
    /// the source's filter.
    #[must_use]
    pub fn narrowest(mut self, width: TimeDelta) -> Self {
        self.narrowest = width.max(TimeDelta::nanoseconds(1));
        self.widest = whole(self.widest, self.narrowest);
        self.width = self.widest;
        self
    }

    /// The next window; `None` when all have been given out.
    #[allow(clippy::should_implement_trait, reason = "a loop over an iterator could not split windows")]
    pub fn next(&mut self) -> Option<Window> {
        if let Some(part) = self.parts.pop_front() {
            return Some(part);
        }
        if self.at >= self.to {
            return None;
        }
        if self.unsplit >= CALM {
            self.unsplit = 0;
            self.width = (self.width * 2).min(self.widest);
        }
        self.unsplit += 1;
        let from = self.at;
        self.at = from.checked_add_signed(self.width).map_or(self.to, |end| end.min(self.to));
        Some(Window { from, to: self.at })
    }

    /// Takes back `window`, the last that was given out, and gives its halves out next.
    ///
    /// # Errors
    /// [`ConnectorError::Rejected`] where the window cannot be narrower: the source holds more at one time than it gives.
    pub fn split(&mut self, window: Window) -> Result<(), ConnectorError> {
        let units = window.width().num_nanoseconds().unwrap_or(i64::MAX)
            / self.narrowest.num_nanoseconds().unwrap_or(i64::MAX).max(1);
        if units < 2 {
            let source = Box::new(TooNarrow { window, narrowest: self.narrowest });
            return Err(ConnectorError::Rejected { source });
        }
        let half = self.narrowest * i32::try_from(units / 2).unwrap_or(i32::MAX);
        let middle = window.from + half;
        self.parts.push_front(Window { from: middle, to: window.to });
        self.parts.push_front(Window { from: window.from, to: middle });
        self.width = whole(half, self.narrowest).min(self.width);
        self.unsplit = 0;
        Ok(())
    }

    /// Asks `read` for each window in order, and again for its halves where it says that one holds too much.
    pub fn read<T, F>(
        mut self,
        mut read: impl FnMut(Window) -> F,
    ) -> impl Stream<Item = Result<(Window, T), ConnectorError>>
    where
        F: Future<Output = Result<Held<T>, ConnectorError>>,
    {
        async_stream::try_stream! {
            while let Some(window) = self.next() {
                match read(window).await? {
                    Held::All(found) => yield (window, found),
                    Held::TooMuch => self.split(window)?,
                }
            }
        }
    }
}

/// What a source gives for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<T> {
    /// Everything that it holds.
    All(T),
    /// Less than it holds, or nothing: there is too much in it.
    TooMuch,
}

/// More records at one time than the source gives.
#[derive(Debug, thiserror::Error)]
#[error("the source holds more records {window} than it gives for one question, and it tells no times apart that are less than {} s", .narrowest.as_seconds_f64())]
struct TooNarrow {
    window: Window,
    narrowest: TimeDelta,
}

/// `width` as a multiple of `unit`, at least one.
fn whole(width: TimeDelta, unit: TimeDelta) -> TimeDelta {
    let (width, unit_nanos) =
        (width.num_nanoseconds().unwrap_or(i64::MAX), unit.num_nanoseconds().unwrap_or(i64::MAX));
    let unit_nanos = unit_nanos.max(1);
    TimeDelta::nanoseconds((width / unit_nanos).max(1).saturating_mul(unit_nanos))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use futures::{TryStreamExt, pin_mut};
    use headwater_connect::{ConnectorError, Retry};
    use proptest::prelude::*;

    use super::{Held, TimeWindows, Window};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn windows(seconds: i64, width: i64) -> TimeWindows {
        TimeWindows::new(at(0), at(seconds), TimeDelta::seconds(width))
    }

    #[test]
    fn an_empty_stretch_has_no_window() {
        assert_eq!(windows(0, 10).next(), None);
        assert_eq!(windows(-5, 10).next(), None);
        assert_eq!(
            windows(5, 0).next(),
            Some(Window { from: at(0), to: at(1) }),
            "never narrower than it may be"
        );
        let mut all = TimeWindows::new(at(0), DateTime::<Utc>::MAX_UTC, TimeDelta::MAX);
        assert!(all.next().is_some());
    }

    #[test]
    fn windows_are_narrow_after_a_split_and_widen_again() {
        let mut windows = windows(1000, 64);
        let first = windows.next().unwrap();
        windows.split(first).unwrap();
        let widths: Vec<i64> =
            std::iter::from_fn(|| windows.next()).map(|w| w.width().num_seconds()).take(10).collect();
        assert_eq!(widths, [32, 32, 32, 32, 32, 32, 64, 64, 64, 64]);
    }

    #[test]
    fn an_instant_that_holds_too_much_is_an_error_that_says_so() {
        let mut windows = windows(10, 1);
        let window = windows.next().unwrap();
        let error = windows.split(window).unwrap_err();
        assert_eq!(error.retry(), Retry::Never);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("from 2023-11-14T22:13:20Z (inclusive) to 2023-11-14T22:13:21Z"), "{cause}");
        let ConnectorError::Rejected { .. } = error else { panic!("{error:?}") };
    }

    proptest! {
        /// Records at random seconds, and a source that gives at most `cap` of them.
        #[test]
        fn every_record_is_read_once_and_in_order(
            mut times in proptest::collection::vec(0_i64..5_000, 0..300), width in 1_i64..6_000, cap in 1_usize..40,
        ) {
            times.sort_unstable();
            let busiest = times.chunk_by(|a, b| a == b).map(<[i64]>::len).max().unwrap_or(0);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (held, mut end) = (times.clone(), at(0));
            let read = windows(5_000, width).read(|window| {
                let found: Vec<i64> =
                    held.iter().copied().filter(|t| at(*t) >= window.from && at(*t) < window.to).collect();
                async move { Ok(if found.len() > cap { Held::TooMuch } else { Held::All(found) }) }
            });
            let result = runtime.block_on(async {
                pin_mut!(read);
                let mut all = Vec::new();
                while let Some((window, found)) = read.try_next().await? {
                    assert_eq!(window.from, end, "no gap and no overlap");
                    end = window.to;
                    all.extend(found);
                }
                Ok::<_, ConnectorError>(all)
            });
            match result {
                Ok(all) => {
                    prop_assert_eq!(all, times);
                    prop_assert_eq!(end, at(5_000));
                }
                Err(_) => prop_assert!(busiest > cap),
            }
        }
    }
}
