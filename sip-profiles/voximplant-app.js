// VoxEngine scenario of the profile `voximplant-app`: cooee hands a call over, this dials the
// customer and shows the Australian number.
//
// Set-up, once, in the Voximplant control panel:
//   1. Application APP of account ACCOUNT; in cooee.toml the trunk has vars app and account.
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

// Final codes that cooee reads unchanged, to tell busy, no answer, a bad number and a refused
// caller number apart. Any other becomes 480.
const PASSED_CODES = [402, 403, 404, 408, 480, 484, 486, 487, 500, 502, 503, 603, 604];

VoxEngine.addEventListener(AppEvents.CallAlerting, ({ call, destination, headers = {} }) => {
  const name = headers["X-Cooee-Call"] || "-";
  const customer = digitsOf(destination);
  const callerId = digitsOf(headers["X-CallerID"]);
  Logger.write(`cooee ${name}: call to ${masked(customer)} as ${callerId}`);

  // The number to show is never guessed: without it the customer would see anybody's.
  if (!customer || !callerId) {
    return refuse(call, 400);
  }
  if (OWN_NUMBERS.length > 0 && !OWN_NUMBERS.includes(callerId)) {
    return refuse(call, 403);
  }

  const outgoing = VoxEngine.callPSTN(customer, callerId);

  // easyProcess ends the session when the customer is not reached, without telling cooee why.
  // This listener is added before it and so gives the code back first.
  outgoing.addEventListener(CallEvents.Failed, ({ code, reason }) => {
    Logger.write(`cooee ${name}: not reached, ${code} ${reason || ""}`);
    call.reject(PASSED_CODES.includes(code) ? code : 480);
  });

  // Ringing and early media go back as they come (the dialer's machine detection listens before
  // the answer too), the answer when the customer has answered and not before
  // (`answer_means = "customer"`), a hang-up of either side to the other; then the session ends,
  // so that nothing runs on at our cost.
  VoxEngine.easyProcess(call, outgoing);

  // Digits for menus on the far end.
  call.handleTones(true);
  call.addEventListener(CallEvents.ToneReceived, ({ tone }) => outgoing.sendTone(tone));
});

function refuse(call, code) {
  call.reject(code);
  VoxEngine.terminate();
}

function digitsOf(text) {
  return String(text || "").replace(/\D/g, "");
}

// The platform keeps logs: a customer's number only as far as a trouble ticket needs it.
function masked(digits) {
  return digits.replace(/\d{4}$/, "XXXX");
}
