// VoxEngine scenario of the profile `voximplant-app`: cooee hands a call over, this dials the
// customer and shows the Australian number.
//
// Set-up, once, in the Voximplant control panel:
//   1. Application APP of account ACCOUNT; trunk vars in cooee.toml: app = "APP", account = "ACCOUNT".
//   2. This scenario, and a routing rule for the numbers that may be dialled, say
//        ^61[2-478]\d{8}$
//      The rule is the toll-fraud fence on this side: keep it as narrow as the business allows.
//   3. Security -> SIP white list: the public IP address of cooee (an address, not a name).
//   4. The number shown must be rented from Voximplant or verified there, or callPSTN refuses it.
//
// What cooee sends (see voximplant-app.toml): the customer's number as the user of Request-URI and
// To, the number to show in X-CallerID, cooee's own name of the call in X-Cooee-Call. A scenario
// sees no headers but X-... and User-to-User.

// The numbers that this account may show, digits only. Empty: whatever cooee asks for; Voximplant
// itself still refuses numbers that are neither rented nor verified.
const OWN_NUMBERS = [];

// SIP codes that callPSTN reports and that cooee should read unchanged. Anything else becomes 480.
const PASSED_CODES = [402, 403, 404, 408, 480, 484, 486, 487, 500, 502, 503, 603, 604];

VoxEngine.addEventListener(AppEvents.CallAlerting, (alerting) => {
  const incoming = alerting.call;
  const headers = alerting.headers || {};
  const callId = headers["X-Cooee-Call"] || "-";
  const destination = digitsOf(alerting.destination);
  const callerId = digitsOf(headers["X-CallerID"]);

  Logger.write(`cooee ${callId}: call to ${mask(destination)} as ${callerId}`);

  // The number to show is never guessed: without it the customer would see anybody's.
  if (!destination || !callerId) {
    return refuse(incoming, 400);
  }
  if (OWN_NUMBERS.length > 0 && !OWN_NUMBERS.includes(callerId)) {
    return refuse(incoming, 403);
  }

  const outgoing = VoxEngine.callPSTN(destination, callerId);
  let answered = false;
  let over = false;

  // Ringing and early media go back as they come: the dialer's machine detection listens before
  // the answer too.
  outgoing.addEventListener(CallEvents.Ringing, () => incoming.ring());
  outgoing.addEventListener(CallEvents.AudioStarted, () => {
    if (!answered && !over) {
      incoming.startEarlyMedia();
      VoxEngine.sendMediaBetween(outgoing, incoming);
    }
  });

  // cooee gets its 200 when the customer has answered, not before: `answer_means = "customer"`.
  outgoing.addEventListener(CallEvents.Connected, () => {
    answered = true;
    incoming.answer();
    VoxEngine.sendMediaBetween(incoming, outgoing);
  });

  // Not reached: the code goes through, for cooee tells busy, no answer and a bad number apart.
  outgoing.addEventListener(CallEvents.Failed, (event) => {
    over = true;
    const code = PASSED_CODES.includes(event.code) ? event.code : 480;
    Logger.write(`cooee ${callId}: failed with ${event.code} ${event.reason || ""}`);
    refuse(incoming, code);
  });

  outgoing.addEventListener(CallEvents.Disconnected, () => {
    over = true;
    incoming.hangup();
  });

  // The dialer gave up, before the answer or after it.
  incoming.addEventListener(CallEvents.Failed, () => {
    over = true;
    outgoing.hangup();
  });
  incoming.addEventListener(CallEvents.Disconnected, () => {
    over = true;
    outgoing.hangup();
  });

  // DTMF of either side (RFC 4733) for menus on the far end.
  incoming.handleTones(true);
  incoming.addEventListener(CallEvents.ToneReceived, (event) => outgoing.sendTone(event.tone));

  // One session carries one call: end it with its legs, so that nothing runs on at our cost.
  const end = () => {
    if (incoming.state() === "DISCONNECTED" && outgoing.state() === "DISCONNECTED") {
      VoxEngine.terminate();
    }
  };
  [incoming, outgoing].forEach((call) => {
    call.addEventListener(CallEvents.Disconnected, end);
    call.addEventListener(CallEvents.Failed, () => VoxEngine.terminate());
  });
});

function refuse(call, code) {
  call.reject(code);
  VoxEngine.terminate();
}

function digitsOf(text) {
  return String(text || "").replace(/\D/g, "");
}

// Logs are kept by the platform: the customer's number only as far as a trouble ticket needs it.
function mask(digits) {
  return digits.replace(/\d{4}$/, "XXXX");
}
