//! Tells people of alerts by e-mail (SMTP, RFC 5321).
//!
//! Promises: a password goes over TLS only, or stays on this machine; neither the password nor the address it is part of
//! is in any message.

use std::time::Duration;

use lettre::message::{Mailbox, header};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use slipway_domain::alert::Notice;
use slipway_domain::ports::{BoxFuture, Notifier};

use crate::config::Mail;
use crate::error::ServerError;

/// One attempt may take so long.
const TIMEOUT: Duration = Duration::from_secs(20);

const SUBJECT_CHARS_MAX: usize = 100;

/// A mail server, and who is written to.
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    pub(crate) fn new(mail: &Mail) -> Result<Self, ServerError> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(mail.url.as_str()).map_err(|_| {
            ServerError::Setup(
                "SLIPWAY_SMTP_URL cannot be used: give smtps://user:password@host, or smtp://host:587?tls=required"
                    .into(),
            )
        })?;
        Ok(Self {
            transport: builder.timeout(Some(TIMEOUT)).build(),
            from: mail.from.clone(),
            to: mail.to.clone(),
        })
    }

    fn message(&self, notice: &Notice) -> Result<Message, String> {
        let over = if notice.ended_at.is_some() { "over: " } else { "" };
        let (kind, subject) = (notice.kind.as_str(), notice.subject());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(format!(
                "[slipway] {over}{subject}: {kind}: {}",
                beginning(&notice.message)
            ))
            .header(header::MIME_VERSION_1_0)
            .message_id(None)
            // The same alert is one thread (RFC 5322 section 3.6.4).
            .in_reply_to(format!("<{}@slipway>", notice.id))
            .references(format!("<{}@slipway>", notice.id))
            .header(header::ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let ended = notice
            .ended_at
            .map_or_else(String::new, |at| format!("It is over since {}.\n", at.to_rfc3339()));
        let place = notice.place.as_ref().map_or_else(
            || "It is the platform's own".to_owned(),
            |at| format!("App {}, environment {}, team {}", at.app, at.environment, at.team),
        );
        let text = format!(
            "{}\n\n{place}. It began at {}.\n{ended}\nAlert {}\n",
            notice.message,
            notice.started_at.to_rfc3339(),
            notice.id
        );
        builder.body(text).map_err(|error| error.to_string())
    }
}

/// So much of what happened as a subject has place for.
fn beginning(message: &str) -> String {
    let mut chars = message.chars();
    let mut text: String = chars.by_ref().take(SUBJECT_CHARS_MAX).collect();
    if chars.next().is_some() {
        text.push('…');
    }
    text
}

impl Notifier for Mailer {
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let message = self.message(notice)?;
            let sent = self.transport.send(message).await;
            sent.map(drop).map_err(|error| format!("the mail server: {error}"))
        })
    }
}
