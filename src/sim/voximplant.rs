//! The simulated Bitrix24 line on Voximplant: the scenario of seed 004, second by second.
//!
//! | seconds after the INVITE | |
//! |---|---|
//! | 0 | the INVITE of the line is challenged; the one with the digest begins the call; INIT |
//! | 1 | 183 with early audio, a ringback tone |
//! | 2 | 200: the platform answers, a greeting plays |
//! | 9 | the greeting is over, two seconds for digits |
//! | 11 | music: the customer waits |
//! | 18 | an agent answers; START |
//! | 23 | the agent holds the customer |
//! | 28 | a late 487 of another branch, where it was ordered |
//! | 31 | the agent is back |
//! | 36 | the agent hangs up: BYE with cause 603; END |

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::clock::{Pace, now_us};
use crate::digest;
use crate::endpoint::{Arrived, Endpoint, Inbox};
use crate::leg::{Headers, Heard, Leg};
use crate::limits::HEADER;
use crate::portal::{Event, Letter, Portal};
use crate::rtp::{Port, Sound};
use crate::truth::{Answer, Book, Call, End, Hold, Word};
use crate::wire::{Message, Text, display, sdp, uri, user};

/// How long a call is kept after its end for what comes late.
const LINGER: Duration = Duration::from_millis(1500);

/// The scenario, in seconds after the INVITE.
const RINGS: f64 = 1.0;
const ANSWERS: f64 = 2.0;
const GREETED: f64 = 9.0;
const WAITS: f64 = 11.0;
const AGENT: f64 = 18.0;
const HOLDS: f64 = 23.0;
const STRAY: f64 = 28.0;
const RESUMES: f64 = 31.0;
const HANGS_UP: f64 = 36.0;
/// A call that nobody answers: Voximplant gives it up with 408.
const RINGS_OUT: f64 = 60.0;

/// One Bitrix24 SIP line.
#[derive(Clone, Debug)]
pub struct Line {
    /// `sip12`.
    pub login: String,
    /// Its password.
    pub password: String,
    /// How it challenges: 401 or 407.
    pub challenge: u16,
}

/// Where the platform is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its SIP address.
    pub sip: SocketAddr,
    /// The address of its audio, another one.
    pub media: IpAddr,
    /// The realm of its challenges.
    pub realm: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Addresses that are known and not challenged: their calls are for the first line.
    pub white_list: Vec<IpAddr>,
    /// The agents' ids, by turns.
    pub users: Vec<String>,
    /// How fast the scenario runs.
    pub pace: Pace,
}

/// The platform.
#[derive(Clone, Debug)]
pub struct Voximplant {
    endpoint: Endpoint,
    settings: Settings,
    portal: Portal,
    book: Book,
}

impl Voximplant {
    /// Binds its address and takes calls from then on, as long as the runtime lives.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn start(settings: Settings, portal: Portal, book: Book) -> io::Result<()> {
        let (endpoint, strangers) = Endpoint::bind(settings.sip).await?;
        tokio::spawn(Self { endpoint, settings, portal, book }.live(strangers));
        Ok(())
    }

    async fn live(self, mut strangers: Inbox) {
        let mut calls = JoinSet::new();
        while let Some(arrived) = strangers.recv().await {
            while calls.try_join_next().is_some() {}
            let message = &arrived.message;
            let status = match message.method() {
                None | Some("ACK") => continue,
                Some("OPTIONS") => "200 OK",
                Some("INVITE") => match self.admitted(&arrived).await {
                    Ok(line) => {
                        let (platform, call) = (self.clone(), self.begin(&arrived, &line));
                        // The leg is opened here: what comes next for the call is heard by it.
                        let contact = format!("<sip:{}@{}>", line.login, self.settings.sip);
                        let tag = format!("vx{}", call.n);
                        let leg = Leg::called(&self.endpoint, &arrived, &tag, &contact);
                        calls.spawn(async move { platform.see_through(call, arrived, leg).await });
                        continue;
                    }
                    Err(None) => continue,
                    Err(Some(status)) => status,
                },
                Some(_) => "481 Call/Transaction Does Not Exist",
            };
            let bytes = Text::response(message, status, "vx0").finish("");
            self.endpoint.send(arrived.from, &bytes).await;
        }
    }

    /// The line that an INVITE may use; else what to answer, if that has not been done.
    async fn admitted(&self, arrived: &Arrived) -> Result<Line, Option<&'static str>> {
        let message = &arrived.message;
        let long = message.raw().split("\r\n").any(|line| line.len() > HEADER);
        if long {
            return Err(Some("400 Header Too Long"));
        }
        if self.settings.white_list.contains(&arrived.from.ip()) {
            return self.settings.lines.first().cloned().ok_or(Some("404 Not Found"));
        }
        // The nonce is a function of the call: nothing has to be kept of a challenge.
        let nonce = digest::hash(&["nonce", message.one("Call-ID")]);
        let Some(login) = digest::login(message) else {
            self.offered(arrived);
            let named = user(uri(message.one("From")));
            let line = self.settings.lines.iter().find(|line| line.login == named);
            let (status, name) = match line.ok_or(Some("404 Not Found"))?.challenge {
                401 => ("401 Unauthorized", "WWW-Authenticate"),
                _ => ("407 Proxy Authentication Required", "Proxy-Authenticate"),
            };
            let value = digest::challenge(&self.settings.realm, &nonce);
            let text = Text::response(message, status, "vx0").header(name, &value);
            self.endpoint.send(arrived.from, &text.finish("")).await;
            return Err(None);
        };
        let line = self.settings.lines.iter().find(|line| line.login == login);
        let line = line.filter(|line| digest::is_right(message, &line.password, &nonce));
        line.cloned().ok_or(Some("403 Forbidden"))
    }

    /// The first INVITE of a call came, and is challenged.
    fn offered(&self, arrived: &Arrived) {
        let customer = caller(&arrived.message);
        let mut n = 0;
        self.book.each(|call| {
            if call.order.customer == customer && call.platform.offered_us.is_none() {
                n = call.n;
            }
        });
        self.book.note(n, |call| call.platform.offered_us = Some(arrived.at_us));
    }

    fn begin(&self, arrived: &Arrived, line: &Line) -> Call {
        let message = &arrived.message;
        let call = self.book.offered(caller(message));
        let seconds = arrived.at_us / 1_000_000;
        let portal_call_id = format!("{:016X}.{seconds}.{}", now_us(), 9_000_000 + call.n);
        let users = &self.settings.users;
        let turn = call.n as usize % users.len().max(1);
        let user = users.get(turn).cloned().unwrap_or_default();
        self.book.note(call.n, |call| {
            let seen = &mut call.platform;
            seen.offered_us.get_or_insert(arrived.at_us);
            seen.invite = message.raw().to_owned();
            seen.line.clone_from(&line.login);
            seen.cooee_call = message.one("X-Cooee-Call").to_owned();
            seen.authenticated = true;
            seen.portal_call_id.clone_from(&portal_call_id);
            seen.user.clone_from(&user);
        });
        let mut call = call;
        call.platform.portal_call_id = portal_call_id;
        call.platform.user = user;
        call.platform.line.clone_from(&line.login);
        call
    }

    async fn see_through(self, call: Call, invite: Arrived, mut leg: Leg) {
        let n = call.n;
        let Ok(port) = Port::open(self.settings.media, u64::from(n) << 1 | 1).await else {
            leg.answer(&invite, "500 Server Internal Error", Headers(&[], "")).await;
            self.book.note(n, |call| call.platform.done = true);
            return leg.linger(LINGER).await;
        };
        let mut scene = Scene {
            platform: &self,
            begun: Instant::now(),
            began_us: invite.at_us,
            invite,
            port,
            leg,
            reached: false,
            call,
        };
        let over = scene.play().await;
        let Scene { port, leg, call, reached, began_us, .. } = scene;
        let media = port.close().await;
        self.book.note(n, |call| {
            call.platform.media = media;
            call.platform.done = true;
        });
        let (linger, post) = (leg.linger(LINGER), self.post_end(&call, reached, began_us, over));
        tokio::join!(linger, post);
    }

    /// `End`, and before it a `Start` that was kept back.
    async fn post_end(&self, call: &Call, reached: bool, began_us: i64, over: Over) {
        let Over { at_us, code } = over;
        if reached && call.order.start == Word::Late {
            self.post(call, call.platform.agent_us.unwrap_or(at_us), self.start_of(call)).await;
            // Their ways have delays of their own: the history is written a little later.
            tokio::time::sleep(Duration::from_millis(800)).await;
        }
        let user = if reached { call.platform.user.clone() } else { String::new() };
        let event = Event::End {
            line: call.platform.line.clone(),
            customer: call.order.customer.clone(),
            user,
            duration_s: (at_us - began_us) / 1_000_000,
            code: if reached { 200 } else { code },
            began: began_us / 1_000_000,
        };
        self.post(call, now_us(), event).await;
    }

    fn start_of(&self, call: &Call) -> Event {
        Event::Start { user: call.platform.user.clone() }
    }

    async fn post(&self, call: &Call, at_us: i64, event: Event) {
        let fate = match event {
            Event::Start { .. } => call.order.start,
            _ => Word::Once,
        };
        let call_id = call.platform.portal_call_id.clone();
        self.portal.post(Letter { n: call.n, call_id, at_us, event, fate, forged: false }).await;
    }
}

/// The number that a call comes from: the display name, else the user of From.
fn caller(invite: &Message) -> &str {
    let from = invite.one("From");
    let shown = display(from);
    if shown.is_empty() { user(uri(from)) } else { shown }
}

/// A call is over: when, and the code that the portal's history has for one without an agent.
#[derive(Clone, Copy, Debug)]
struct Over {
    at_us: i64,
    code: u16,
}

/// One run of the scenario.
struct Scene<'p> {
    platform: &'p Voximplant,
    begun: Instant,
    began_us: i64,
    invite: Arrived,
    port: Port,
    leg: Leg,
    /// An agent was reached.
    reached: bool,
    call: Call,
}

impl Scene<'_> {
    fn note(&self, note: impl FnOnce(&mut crate::truth::Platform)) {
        self.platform.book.note(self.call.n, |call| note(&mut call.platform));
    }

    /// The scenario from the top to the bottom; the peer may end it at any place.
    async fn play(&mut self) -> Over {
        match self.acts().await {
            Ok(over) | Err(over) => over,
        }
    }

    async fn acts(&mut self) -> Result<Over, Over> {
        self.opening().await?;
        if self.call.order.answer == Answer::Rings {
            self.until(RINGS_OUT).await?;
            return Ok(self.refuse("408 Request Timeout", 408).await);
        }
        self.greeting().await?;
        self.agent().await?;
        self.until(HANGS_UP).await?;
        let reason = [("Reason", "SIP;cause=603;text=\"Decline\"")];
        let (at_us, _) = self.leg.ask("BYE", Headers(&reason, "")).await;
        let end = End::Platform(at_us);
        self.platform.book.note(self.call.n, |call| _ = call.end.get_or_insert(end));
        Ok(Over { at_us, code: 200 })
    }

    /// 100, `Init`, and 183 with a tone, or 486.
    async fn opening(&mut self) -> Result<(), Over> {
        let at_us = self.leg.answer(&self.invite, "100 Trying", Headers(&[], "")).await;
        self.note(|seen| seen.trying_us = Some(at_us));
        let event = Event::Init {
            line: self.call.platform.line.clone(),
            customer: self.call.order.customer.clone(),
            called: user(uri(self.invite.message.one("To"))).to_owned(),
        };
        self.platform.post(&self.call, self.began_us, event).await;
        self.until(RINGS).await?;
        if self.call.order.answer == Answer::Busy {
            return Err(self.refuse("486 Busy Here", 486).await);
        }
        self.port.play(Sound::Ringback).await;
        self.port.to(self.invite.message.audio()).await;
        let tone = sdp("voximplant", self.port.local(), 1, "sendrecv");
        let headers = Headers(&[], &tone);
        let at_us = self.leg.answer(&self.invite, "183 Session Progress", headers).await;
        self.note(|seen| seen.ringing_us = Some(at_us));
        Ok(())
    }

    /// 200, greeting, time for digits, music.
    async fn greeting(&mut self) -> Result<(), Over> {
        self.until(ANSWERS).await?;
        let answer = sdp("voximplant", self.port.local(), 1, "sendrecv");
        let at_us = self.leg.answer(&self.invite, "200 OK", Headers(&[], &answer)).await;
        self.note(|seen| seen.answer_us = Some(at_us));
        self.port.play(Sound::Voice(4)).await;
        if self.call.order.forged {
            let call_id = self.call.platform.portal_call_id.clone();
            let event = Event::Start { user: "666".to_owned() };
            let (n, fate) = (self.call.n, Word::Once);
            let letter = Letter { n, call_id, at_us, event, fate, forged: true };
            self.platform.portal.post(letter).await;
        }
        self.until(GREETED).await?;
        self.port.play(Sound::Silence).await;
        self.until(WAITS).await?;
        self.port.play(Sound::Music).await;
        self.note(|seen| seen.queue_us = Some(now_us()));
        Ok(())
    }

    /// The agent answers, holds, and is back.
    async fn agent(&mut self) -> Result<(), Over> {
        self.until(AGENT).await?;
        self.reached = true;
        let voice = Sound::Voice(100 + u64::from(self.call.n));
        self.port.play(voice).await;
        let at_us = now_us();
        self.call.platform.agent_us = Some(at_us);
        self.note(|seen| seen.agent_us = Some(at_us));
        if self.call.order.start != Word::Late {
            let event = self.platform.start_of(&self.call);
            self.platform.post(&self.call, at_us, event).await;
        }
        self.until(HOLDS).await?;
        let held_us = match self.call.order.hold {
            Hold::Never => None,
            Hold::Silent => {
                self.port.play(Sound::Music).await;
                None
            }
            Hold::Signalled => {
                self.port.play(Sound::Music).await;
                self.redescribe(2, "sendonly").await
            }
        };
        self.until(STRAY).await?;
        if self.call.order.stray_487 {
            self.stray().await;
        }
        self.until(RESUMES).await?;
        self.port.play(voice).await;
        if let Some(held_us) = held_us
            && let Some(back_us) = self.redescribe(3, "sendrecv").await
        {
            self.note(|seen| seen.holds.push((held_us, back_us)));
        }
        Ok(())
    }

    /// A re-INVITE; when it left, if it was accepted.
    async fn redescribe(&mut self, version: u32, direction: &str) -> Option<i64> {
        let offer = sdp("voximplant", self.port.local(), version, direction);
        let (at_us, answer) = self.leg.ask("INVITE", Headers(&[], &offer)).await;
        let answer: Message = answer.filter(|answer| answer.status() == Some(200))?;
        self.port.to(answer.audio()).await;
        Some(at_us)
    }

    /// A 487 for the INVITE that was answered: the late end of a branch that lost.
    async fn stray(&self) {
        let text = Text::response(&self.invite.message, "487 Request Terminated", "vxstray");
        self.platform.endpoint.send(self.invite.from, &text.finish("")).await;
    }

    /// A final code; the call is over with it.
    async fn refuse(&mut self, status: &str, code: u16) -> Over {
        let at_us = self.leg.answer(&self.invite, status, Headers(&[], "")).await;
        let end = End::Refused(at_us, code);
        self.platform.book.note(self.call.n, |call| _ = call.end.get_or_insert(end));
        Over { at_us, code }
    }

    /// Waits for a second of the scenario; `Err`: the peer ended the call before.
    async fn until(&mut self, second: f64) -> Result<(), Over> {
        let deadline = self.begun + self.platform.settings.pace.seconds(second);
        loop {
            let asked = match self.leg.until(deadline).await {
                Heard::Time => return Ok(()),
                Heard::Response(_) => continue,
                Heard::Request(asked) => asked,
            };
            let over = Over { at_us: asked.at_us, code: 304 };
            match asked.message.method() {
                Some("BYE") => {
                    self.leg.answer(&asked, "200 OK", Headers(&[], "")).await;
                    self.note(|seen| seen.told_us = Some(asked.at_us));
                    return Err(over);
                }
                Some("CANCEL") => {
                    self.leg.answer(&asked, "200 OK", Headers(&[], "")).await;
                    let status = "487 Request Terminated";
                    self.leg.answer(&self.invite, status, Headers(&[], "")).await;
                    self.note(|seen| seen.told_us = Some(asked.at_us));
                    return Err(over);
                }
                Some("INVITE") => {
                    let answer = sdp("voximplant", self.port.local(), 9, "sendrecv");
                    self.port.to(asked.message.audio()).await;
                    self.leg.answer(&asked, "200 OK", Headers(&[], &answer)).await;
                }
                _ => _ = self.leg.answer(&asked, "200 OK", Headers(&[], "")).await,
            }
        }
    }
}
