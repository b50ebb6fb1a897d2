//! From a failure to what the client sees.
//!
//! Promises: every failure ends here, once; the exchange it ends knows about it; no body is left unread on a
//! connection that stays open.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;

use crate::access_log::Exchange;
use crate::body::{BodyWatch, ResponseBody, Verdict, linger};
use crate::error::Failure;
use crate::pages::{self, Form};
use crate::proxy::Proxy;

/// What is needed to answer instead of an app.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) form: Form,
    pub(crate) is_h1: bool,
}

/// The proxy's own answer to a failed request.
pub(crate) fn answer(failure: Failure, manner: Manner, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
    exchange.failed(failure);
    let page = pages::answer(failure, manner.form, exchange.request_id(), manner.is_h1);
    finish(page, exchange)
}

/// Any answer of the proxy's own.
pub(crate) fn finish(page: Response<Bytes>, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
    exchange.answered(page.status());
    let text_len = page.body().len();
    let is_head = exchange.is_head();
    let mut response = page.map(|text| {
        let text = if is_head { Bytes::new() } else { text };
        ResponseBody::page(text, Some(exchange))
    });
    if is_head {
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, text_len.into());
    }
    response
}

/// Reads what is left of a body that no app will get.
pub(crate) fn discard(proxy: &Proxy, body: Option<Incoming>) {
    if let Some(body) = body {
        linger(body, proxy.tracker());
    }
}

/// What a failed transfer was really about: the client's side of it, when that is what broke.
pub(crate) fn blame(watch: &Arc<BodyWatch>, otherwise: Failure) -> Failure {
    match watch.verdict() {
        Verdict::Fine => otherwise,
        Verdict::TooLarge => Failure::TooLarge,
        Verdict::Stalled => Failure::ClientStalled,
        Verdict::Gone => Failure::ClientGone,
    }
}
