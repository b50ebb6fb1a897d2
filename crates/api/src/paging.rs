//! `?limit=` and `?cursor=`: one page of a list.

use serde::Deserialize;
use slipway_store::Page as Wanted;
use slipway_wire::Page;
use slipway_wire::page::{LIMIT_DEFAULT, LIMIT_MAX, decode_cursor, encode_cursor};
use utoipa::IntoParams;

use crate::error::{ApiError, Result};

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// Entries on the page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub(crate) limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A page as asked for: what the store is told, and how to make the next cursor.
pub(crate) struct Paging<K> {
    order: &'static str,
    limit: u32,
    after: Option<K>,
}

impl<K: std::str::FromStr + std::fmt::Display + Clone> Paging<K> {
    /// Checks what was asked for.
    pub(crate) fn parse(order: &'static str, limit: Option<u32>, cursor: Option<&str>) -> Result<Self> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::parameter("limit", format!("give 1 to {LIMIT_MAX}")));
        }
        let bad = || {
            ApiError::parameter(
                "cursor",
                "it is not one of this list; leave it out to begin at the start",
            )
        };
        let after = match cursor {
            None => None,
            Some(text) => {
                let key = decode_cursor(order, text).map_err(|_| bad())?;
                Some(key.parse::<K>().map_err(|_| bad())?)
            }
        };
        Ok(Self { order, limit, after })
    }

    /// Whether the list is read from its beginning.
    pub(crate) fn is_first(&self) -> bool {
        self.after.is_none()
    }

    /// What the store is told: one more than wanted, to know whether there is a next page.
    pub(crate) fn wanted(&self) -> Wanted<K> {
        Wanted {
            limit: self.limit + 1,
            after: self.after.clone(),
        }
    }

    /// The page out of what the store gave.
    pub(crate) fn page<R, T>(&self, mut rows: Vec<R>, key: impl Fn(&R) -> K, view: impl FnMut(R) -> T) -> Page<T> {
        let size = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| more).map(key);
        Page {
            next_cursor: last.map(|key| encode_cursor(self.order, &key.to_string())),
            items: rows.into_iter().map(view).collect(),
        }
    }
}

/// A list that is always whole.
pub(crate) fn whole<T>(items: Vec<T>) -> Page<T> {
    Page {
        items,
        next_cursor: None,
    }
}
