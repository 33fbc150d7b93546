// The token goes into a POST and never into an address; the cookie that answers it cannot be read by scripts.
const $ = (id) => document.getElementById(id);
$("login").onsubmit = async (event) => {
  event.preventDefault();
  const answer = await fetch("/api/login", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: $("token").value.trim() }) });
  $("token").value = "";
  const body = await answer.json().catch(() => ({}));
  if (answer.ok && body.role) location.href = body.role === "adversary" ? "/adversary" : "/operator";
  else $("answer").textContent = answer.status === 404 || answer.status === 405 ? "No token is needed here." : body.error || "That did not work.";
};
