//! The simulated Unitalk: has a customer on the line and calls an agent through the bridge.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::time::{Duration, Instant};

use crate::clock::{Pace, now_us};
use crate::endpoint::{Endpoint, Inbox};
use crate::leg::{Caller, Headers, Heard, Leg};
use crate::rtp::{Port, Sound};
use crate::truth::{Book, End, Order, Patience};
use crate::wire::{Text, sdp};

/// How long a call is kept after its end for what comes late.
const LINGER: Duration = Duration::from_millis(1500);

/// The longest that a call may last.
const LONGEST: Duration = Duration::from_secs(600);

/// Where Unitalk is, and whom it calls.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its SIP address.
    pub sip: SocketAddr,
    /// The address of its audio.
    pub media: IpAddr,
    /// The bridge.
    pub bridge: SocketAddr,
    /// How fast the scenario runs.
    pub pace: Pace,
}

/// The dialer; clones are the same one.
#[derive(Clone, Debug)]
pub struct Unitalk {
    endpoint: Endpoint,
    settings: Settings,
    book: Book,
}

impl Unitalk {
    /// Binds its address.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(settings: Settings, book: Book) -> io::Result<Self> {
        let (endpoint, strangers) = Endpoint::bind(settings.sip).await?;
        tokio::spawn(refuse(endpoint.clone(), strangers));
        Ok(Self { endpoint, settings, book })
    }

    /// Places a call and sees it through; its number in the book comes at once.
    pub fn place(&self, order: Order) -> u32 {
        let n = self.book.open(order.clone());
        let dialer = self.clone();
        tokio::spawn(async move {
            dialer.see_through(n, order).await;
        });
        n
    }

    async fn see_through(&self, n: u32, order: Order) {
        let book = &self.book;
        match Port::open(self.settings.media, u64::from(n) << 1).await {
            Ok(port) => {
                let (leg, port) = self.call(n, &order, port).await;
                let media = port.close().await;
                book.note(n, |call| {
                    call.dialer.media = media;
                    call.dialer.done = true;
                });
                leg.linger(LINGER).await;
            }
            Err(_) => book.note(n, |call| {
                call.end = Some(End::Broken(now_us()));
                call.dialer.done = true;
            }),
        }
    }

    async fn call(&self, n: u32, order: &Order, port: Port) -> (Leg, Port) {
        let Settings { sip, bridge, pace, .. } = self.settings;
        let external_id = format!("{}-{n}", now_us() / 1000);
        let call_id = format!("ut-{external_id}@{}", sip.ip());
        let caller = Caller {
            call_id: &call_id,
            from: &format!("<sip:{}@{}>;tag=ut{n}", order.customer, sip.ip()),
            to: &format!("<sip:{}@{bridge}>", order.dialled),
            contact: &format!("<sip:unitalk@{sip}>"),
        };
        let mut leg = Leg::caller(&self.endpoint, bridge, caller);
        let pai = format!("<sip:{}@{}>", order.customer, sip.ip());
        let headers = [
            ("User-Agent", "Unitalk-Dialer/7 (simulated)"),
            ("P-Asserted-Identity", &pai),
            ("X-Unitalk-Call-Id", &external_id),
            ("X-Meta", "project=77;secret-of-a"),
        ];
        let offer = sdp("unitalk", port.local(), 1, "sendrecv");
        let (invite_us, invite) = leg.invite(Headers(&headers, &offer)).await;
        self.book.note(n, |call| {
            call.external_id = external_id;
            call.dialer.invite_us = Some(invite_us);
            call.dialer.invite = invite;
        });
        port.play(Sound::Voice(n.into())).await;
        let begun = Instant::now();
        if self.answered(n, order.patience, begun, &mut leg, &port).await {
            let leaves = match order.patience {
                Patience::Leaves(after) => begun + pace.seconds(after),
                _ => begun + LONGEST,
            };
            self.talk(n, leaves, &mut leg, &port).await;
        }
        (leg, port)
    }

    /// Waits for the final response; whether it was a 200.
    async fn answered(
        &self,
        n: u32,
        patience: Patience,
        begun: Instant,
        leg: &mut Leg,
        port: &Port,
    ) -> bool {
        let (book, pace) = (&self.book, self.settings.pace);
        let mut deadline = match patience {
            Patience::Cancelled(after) => begun + pace.seconds(after),
            _ => begun + LONGEST,
        };
        let mut cancelled = false;
        loop {
            let arrived = match leg.until(deadline).await {
                Heard::Response(arrived) => arrived,
                Heard::Request(asked) => {
                    leg.answer(&asked, "481 No Dialog", Headers(&[], "")).await;
                    continue;
                }
                Heard::Time if cancelled => return false,
                Heard::Time => {
                    let at_us = leg.cancel().await;
                    book.note(n, |call| _ = call.end.get_or_insert(End::Cancel(at_us)));
                    (cancelled, deadline) = (true, Instant::now() + Duration::from_secs(8));
                    continue;
                }
            };
            let (at_us, response) = (arrived.at_us, arrived.message);
            let code = response.status().unwrap_or_default();
            if response.cseq_method() != "INVITE" {
                continue;
            }
            port.to(response.audio()).await;
            match code {
                ..180 => {}
                180..200 => book.note(n, |call| _ = call.dialer.ringing_us.get_or_insert(at_us)),
                _ => {
                    leg.acknowledge(&response).await;
                    book.note(n, |call| call.dialer.answer = Some((at_us, code)));
                    return code < 300;
                }
            }
        }
    }

    /// An answered call, to its end: the customer leaves, or the other side hangs up.
    async fn talk(&self, n: u32, leaves: Instant, leg: &mut Leg, port: &Port) {
        let book = &self.book;
        let mut version = 1;
        loop {
            let asked = match leg.until(leaves).await {
                Heard::Request(asked) => asked,
                Heard::Response(arrived) => {
                    // A 200 again: our ACK was lost.
                    if arrived.message.cseq_method() == "INVITE" {
                        leg.acknowledge(&arrived.message).await;
                    }
                    continue;
                }
                Heard::Time => {
                    let (at_us, _) = leg.ask("BYE", Headers(&[], "")).await;
                    book.note(n, |call| _ = call.end.get_or_insert(End::Customer(at_us)));
                    return;
                }
            };
            match asked.message.method() {
                Some("BYE") => {
                    leg.answer(&asked, "200 OK", Headers(&[], "")).await;
                    book.note(n, |call| call.dialer.told_us = Some(asked.at_us));
                    return;
                }
                Some("INVITE") => {
                    let held = matches!(asked.message.direction(), "sendonly" | "inactive");
                    version += 1;
                    let direction = if held { "recvonly" } else { "sendrecv" };
                    let answer = sdp("unitalk", port.local(), version, direction);
                    port.mute(held).await;
                    port.to(asked.message.audio()).await;
                    leg.answer(&asked, "200 OK", Headers(&[], &answer)).await;
                    book.note(n, |call| call.dialer.reinvites += 1);
                }
                _ => _ = leg.answer(&asked, "200 OK", Headers(&[], "")).await,
            }
        }
    }
}

/// Nobody calls the dialer.
async fn refuse(endpoint: Endpoint, mut strangers: Inbox) {
    while let Some(arrived) = strangers.recv().await {
        let status = match arrived.message.method() {
            None | Some("ACK") => continue,
            Some("OPTIONS") => "200 OK",
            Some("INVITE") => "403 Forbidden",
            Some(_) => "481 Call/Transaction Does Not Exist",
        };
        let bytes = Text::response(&arrived.message, status, "ut0").finish("");
        endpoint.send(arrived.from, &bytes).await;
    }
}
