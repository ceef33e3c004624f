"""Answers every request with the cookies that came with it."""

import http.server


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"spied: {self.headers.get('Cookie', '')}".encode()
        self.send_response_only(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "planted=1; Path=/")
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", 18080), Page).serve_forever()
