//! Pages of results in descending order as the reference gives them. Pure.
//!
//! There `from` is a lower limit and `to` an upper one in either order, and the live feed of aos depends on it: it
//! begins with the newest five, and asks for what comes after the oldest of them, with a cursor that says
//! descending. Here a page goes on from `from` in its own order. So the two limits change places, and
//! which of them belongs to the page.

use crate::reads::ResultsQuery;
use crate::results::{Cursor, Sort};

/// The question for what a client of the reference means.
pub(super) fn as_meant(query: ResultsQuery) -> ResultsQuery {
    let parsed = |text: &Option<String>| text.as_deref().map(Cursor::parse).transpose();
    let (Ok(from), Ok(to)) = (parsed(&query.from), parsed(&query.to)) else {
        // Whoever answers says what is wrong with them.
        return query;
    };
    let sort = from.as_ref().and_then(|from| from.sort).unwrap_or(query.sort);
    if sort == Sort::Asc || query.crons {
        return query;
    }
    let behind = |cursor: Option<Cursor>| cursor.map(|cursor| behind(cursor).to_text());
    ResultsQuery { from: behind(to), to: behind(from), sort, ..query }
}

/// The place right behind a cursor, later in time.
fn behind(cursor: Cursor) -> Cursor {
    let sort = Some(Sort::Desc);
    if cursor.ordinate.is_none() {
        // A bare timestamp stands for all of its millisecond.
        return Cursor { timestamp: cursor.timestamp.saturating_add(1), sort, ..cursor };
    }
    let tick = cursor.cron.as_deref().and_then(|cron| cron.split('-').next()?.parse::<u32>().ok());
    let next = tick.unwrap_or_default().saturating_add(1);
    Cursor { cron: Some(format!("{next}-")), sort, ..cursor }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn cursor(ordinate: Option<u64>, cron: Option<&str>, sort: Option<Sort>) -> Cursor {
        Cursor { timestamp: 7, ordinate, cron: cron.map(str::to_owned), sort }
    }

    fn query(from: Option<&Cursor>, to: Option<&Cursor>, sort: Sort) -> ResultsQuery {
        let text = |cursor: Option<&Cursor>| cursor.map(Cursor::to_text);
        ResultsQuery { from: text(from), to: text(to), sort, ..ResultsQuery::default() }
    }

    #[test]
    fn the_limits_of_a_descending_page_change_places() {
        let of_feed = cursor(Some(3), None, Some(Sort::Desc));
        // The order that the cursor says wins.
        for sort in [Sort::Asc, Sort::Desc] {
            let meant = as_meant(query(Some(&of_feed), None, sort));
            assert_eq!((meant.from, meant.sort), (None, Sort::Desc));
            let to = Cursor::parse(&meant.to.unwrap()).unwrap();
            assert_eq!(to, cursor(Some(3), Some("1-"), Some(Sort::Desc)));
        }
        let of_tick = cursor(Some(3), Some("2-1-second"), None);
        let bare = Cursor { timestamp: 9, ..cursor(None, None, None) };
        let meant = as_meant(query(Some(&of_tick), Some(&bare), Sort::Desc));
        assert_eq!(Cursor::parse(&meant.to.unwrap()).unwrap().cron.as_deref(), Some("3-"));
        assert_eq!(Cursor::parse(&meant.from.unwrap()).unwrap().timestamp, 10);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let ascending = cursor(Some(3), None, Some(Sort::Asc));
        for query in [
            query(Some(&ascending), None, Sort::Desc),
            query(None, None, Sort::Desc),
            query(None, Some(&ascending), Sort::Asc),
            ResultsQuery { crons: true, ..query(Some(&ascending), Some(&ascending), Sort::Desc) },
            ResultsQuery { from: Some("no cursor".into()), ..query(None, None, Sort::Desc) },
        ] {
            assert_eq!(as_meant(query.clone()), query);
        }
    }
}
