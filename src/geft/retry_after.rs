//! Reads `Retry-After`: for how long the provider asks to be left alone.
//!
//! Pure. It never asks a clock: a date is read against the answer's own `Date`, so that a wrong clock here changes nothing.

use std::time::Duration;

/// The pause that an answer asks for, cut to `longest`; none where nothing usable is said.
///
/// Zero and a date gone by ask for no pause, so they are none too: the backoff decides then.
/// A date without a `Date` to read it against is not usable.
pub(super) fn pause(retry_after: Option<&str>, date: Option<&str>, longest: Duration) -> Option<Duration> {
    let text = retry_after?.trim();
    let pause = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are still a wish to be left alone for long.
        text.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let sent = httpdate::parse_http_date(date?.trim()).ok()?;
        until.duration_since(sent).ok()?
    };
    Some(pause.min(longest)).filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: Duration = Duration::from_mins(15);
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn read(text: &str) -> Option<Duration> {
        pause(Some(text), Some(DATE), LONGEST)
    }

    #[test]
    fn seconds_are_cut_to_the_setting() {
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read(" 90 "), Some(Duration::from_secs(90)));
        assert_eq!(read("901"), Some(LONGEST));
        assert_eq!(read("99999999999999999999999999"), Some(LONGEST));
    }

    #[test]
    fn a_date_is_read_against_the_answers_own() {
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sunday, 06-Nov-94 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun Nov  6 08:50:07 1994"), Some(Duration::from_secs(30)));
        assert_eq!(read("Mon, 06 Nov 2034 08:50:07 GMT"), Some(LONGEST));
        assert_eq!(pause(Some("Sun, 06 Nov 1994 08:50:07 GMT"), None, LONGEST), None);
    }

    #[test]
    fn what_asks_for_no_pause_is_none() {
        for text in ["", " ", "0", "-5", "1.5", "soon", "١٢", "0x10", DATE, "Sun, 06 Nov 1994 08:49:36 GMT"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(pause(None, Some(DATE), LONGEST), None);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_bounded_pause_or_none(text in ".*", date in proptest::option::of(".*")) {
            if let Some(pause) = pause(Some(&text), date.as_deref(), LONGEST) {
                prop_assert!(pause <= LONGEST && !pause.is_zero());
            }
        }
    }
}
