"""A model server that answers at once, in a process of its own, so that what is measured is its client alone.

What it says is a program's text that defines `answer(path, body) -> bytes`, of a request's path and its body's bytes;
everything about HTTP is here.
"""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

HTTP = """
import asyncio

class Stub(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.held = transport, b""

    def data_received(self, data):
        self.held += data
        while b"\\r\\n\\r\\n" in self.held:
            head, _, rest = self.held.partition(b"\\r\\n\\r\\n")
            lines = head.split(b"\\r\\n")
            fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
            size = int(fields.get(b"content-length", 0))
            if len(rest) < size:
                return
            self.held = rest[size:]
            said = answer(lines[0].split()[1].decode(), rest[:size])
            head = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n"
            self.transport.write(head % len(said) + said)

async def main():
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def serving(program: str, *arguments: str) -> Generator[str]:
    """Run the server with `program`, which finds `arguments` in sys.argv; gives the URL of its API."""
    command = [sys.executable, "-c", program + HTTP, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        server.terminate()
