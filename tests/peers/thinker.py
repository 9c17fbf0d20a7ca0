"""A foreign agent on the SDK's Agent, which hears no cancels.

    thinker.py --nats URL --redis URL

It takes `job.agent.think`, reads its input from Redis, reports 50 %, and thinks until
the file named by `until` in its input is there. Prints `ready`, `took` and `done`.
"""

import argparse
import asyncio
import os

import nats
from cap import Agent, emit_progress, progress_payload
from peer import run, say


async def main(args):
    connection = await nats.connect(args.nats, name="thinker")
    connections = [connection]

    async def connect(**options):
        connections.append(await nats.connect(**options))
        return connections[-1]

    agent = Agent(
        nats_url=args.nats,
        redis_url=args.redis,
        worker_id="thinker",
        pool="agent",
        max_parallel=4,
        heartbeat_interval=0.5,
        connect_fn=connect,
    )

    @agent.job("job.agent.think")
    async def think(context, data):
        say("took", job_id=context.job_id)
        payload = progress_payload(
            "thinker", context.job_id, "think", 50, "half way"
        )
        await emit_progress(connection, payload)
        while not os.path.exists(data["context"]["until"]):
            await asyncio.sleep(0.05)
        say("done", job_id=context.job_id)
        return {"thought": data["prompt"]}

    await agent.start()
    for each in connections:
        await each.flush()
    say("ready")
    try:
        await asyncio.Event().wait()
    finally:
        await agent.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--redis", required=True)
    run(main(parser.parse_args()))
