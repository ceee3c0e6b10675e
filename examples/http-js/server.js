// A web server by the Fetch standard: the engine calls the listener for each request.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  if (url.pathname === "/echo" && request.body) {
    return new Response(request.body, { headers: { "content-type": request.headers.get("content-type") ?? "text/plain" } });
  }
  return new Response(`Ahoy from JavaScript, ${url.searchParams.get("name") ?? "stranger"}!\n`, {
    headers: { "content-type": "text/plain" },
  });
}
