"""A server that speaks OpenAI's API as far as a script says."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted(BaseHTTPRequestHandler):
    """Answers each chat completion with the next of ``server.script``: status, headers, body; the last one stays."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(*self.server.models)

    def do_POST(self):
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers['Content-Length']))))
        script = self.server.script
        entry = script.pop(0) if len(script) > 1 else script[0]
        with contextlib.suppress(ConnectionError):
            entry(self) if callable(entry) else self.reply(*entry)

    def reply(self, status, headers, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {'Content-Type': 'application/json', 'Content-Length': str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def scripted(*script):
    """Run a server that follows a script."""
    running = ThreadingHTTPServer(('127.0.0.1', 0), Scripted)
    running.script, running.bodies = list(script), []
    listed = {'object': 'list', 'data': [{'id': 'm', 'object': 'model', 'created': 1, 'owned_by': 'x'}]}
    running.models = (200, {}, listed)
    running.url = f'http://127.0.0.1:{running.server_port}'
    thread = threading.Thread(target=running.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def completion(text='yes', tokens=None, finish='stop', usage=None):
    """A chat completion; ``tokens`` are pairs of a token's text and log-probability."""
    content = [{'token': token, 'logprob': value, 'bytes': None, 'top_logprobs': []} for token, value in tokens or ()]
    choice = {
        'index': 0,
        'message': {'role': 'assistant', 'content': text},
        'logprobs': {'content': content} if tokens else None,
        'finish_reason': finish,
    }
    return (
        200,
        {},
        {'id': 'a', 'object': 'chat.completion', 'created': 1, 'model': 'm', 'choices': [choice], **(usage or {})},
    )
