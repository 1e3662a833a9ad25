"""The facts in the README, measured: memory and the longest stall of the loop while a 3 GiB file goes up.

    python benchmarks/facts.py

It sends a sparse file to a server in a process of its own, which reads and forgets it, over plain TCP and
over TLS, with a task beside it that wants to run every millisecond.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aioreq

SIZE = 3 * 1024**3
TLS_SIZE = 256 * 1024**2

SINK = """
import socket, ssl, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
buffer = bytearray(1 << 20)
while True:
    connection, _ = listener.accept()
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
        connection = context.wrap_socket(connection, server_side=True)
    held = b""
    while b"\\r\\n\\r\\n" not in held:
        held += connection.recv(65536)
    head, _, rest = held.partition(b"\\r\\n\\r\\n")
    left = int(head.lower().partition(b"content-length:")[2].split()[0]) - len(rest)
    while left > 0:
        left -= connection.recv_into(buffer, min(left, len(buffer)))
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    connection.close()
"""


async def tick(stalls: list[float]) -> None:
    """Note how late each turn of a millisecond comes."""
    while True:
        asked = time.perf_counter()
        await asyncio.sleep(0.001)
        stalls.append(time.perf_counter() - asked - 0.001)


def memory(*, forget: bool = False) -> int:
    """The most memory this process has used, in bytes; after ``forget``, since then (Linux, see proc(5))."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


async def measure(url: str, path: Path, verify: ssl.SSLContext | bool) -> str:
    async with aioreq.Session(verify=verify, trust_env=False) as session:
        stalls: list[float] = []
        before, started = memory(forget=True), time.perf_counter()
        ticking = asyncio.create_task(tick(stalls))
        response = await session.post(url, files={"file": path})
        seconds = time.perf_counter() - started
        ticking.cancel()
        assert response.ok
        assert response.upload.complete
        grown = (memory() - before) / 1024**2
        rate = path.stat().st_size / seconds / 1e9
        return f"memory +{grown:.1f} MiB, longest stall {max(stalls) * 1000:.1f} ms, {rate:.2f} GB/s"


def sparse(folder: str, size: int) -> Path:
    path = Path(folder, str(size))
    with path.open("wb") as file:
        file.truncate(size)
    return path


async def main() -> None:
    import trustme

    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder, "server.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
        for name, scheme, size, arguments in (
            ("3 GiB, plain", "http", SIZE, []),
            ("256 MiB, TLS", "https", TLS_SIZE, [str(pem)]),
        ):
            sink = subprocess.Popen([sys.executable, "-c", SINK, *arguments], stdout=subprocess.PIPE, text=True)
            assert sink.stdout is not None
            with sink:
                try:
                    url = f"{scheme}://127.0.0.1:{sink.stdout.readline().strip()}/"
                    print(f"{name}: {await measure(url, sparse(folder, size), trusting)}")
                finally:
                    sink.terminate()


if __name__ == "__main__":
    asyncio.run(main())
