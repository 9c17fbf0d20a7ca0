"""A fleet of foreign workers on the SDK's worker runtime.

    fleet.py --nats URL --workers N [--redis URL]

Worker k is `peer-w<k>` in pool `peer-even` or `peer-odd`. It takes jobs from
`job.peer.>`, sharing them with the others, and from `worker.peer-w<k>.jobs`. The
label `peer.percents` lists the progress it reports, `peer.outcome` how it ends:
`succeed`, `fail`, `fatal`, or `hang` until somebody cancels it. With --redis there
is also `peer-agent` on the SDK's Agent, which reads its input from Redis and takes
`job.agent.echo`.

Prints `ready`, and a line for each job taken and ended and each cancel heard.
"""

import argparse
import asyncio

import nats
from cap import (
    Agent,
    emit_heartbeat,
    emit_progress,
    heartbeat_loop,
    progress_payload,
    run_worker,
    validate_bus_packet,
)
from cap.packet_boundary import parse_packet
from cap.pb.cordum.agent.v1 import heartbeat_pb2, job_pb2
from cap.subjects import SUBJECT_CANCEL
from peer import packet, run, say, sealed

HEARTBEAT_SECONDS = 0.5
SLOTS = 4


class Announced:
    """A connection that tells when the server has its first subscription."""

    def __init__(self, connection, subscribed):
        self.connection = connection
        self.subscribed = subscribed

    async def subscribe(self, *args, **options):
        subscription = await self.connection.subscribe(*args, **options)
        await self.connection.flush()
        self.subscribed.set()
        return subscription

    def __getattr__(self, name):
        return getattr(self.connection, name)


class Worker:
    """One worker: its load, its jobs, and the cancels it heard."""

    def __init__(self, number, url):
        self.id = f"peer-w{number}"
        self.number = number
        self.url = url
        self.pool = "peer-odd" if number % 2 else "peer-even"
        self.connection = None
        self.jobs = {}

    async def start(self):
        self.connection = await nats.connect(self.url, name=self.id)
        await self.connection.subscribe(SUBJECT_CANCEL, cb=self.on_cancel)
        await self.connection.flush()
        await emit_heartbeat(self.connection, self.heartbeat())
        beating = heartbeat_loop(self.connection, self.heartbeat, HEARTBEAT_SECONDS)
        return [
            asyncio.create_task(beating),
            await self.serve("job.peer.>"),
            await self.serve(f"worker.{self.id}.jobs"),
        ]

    async def serve(self, subject):
        subscribed = asyncio.Event()

        async def connect(**options):
            return Announced(await nats.connect(**options), subscribed)

        task = asyncio.create_task(
            run_worker(
                self.url, subject, self.handle, sender_id=self.id, connect_fn=connect
            )
        )
        await subscribed.wait()
        return task

    def heartbeat(self):
        beat = heartbeat_pb2.Heartbeat(
            worker_id=self.id,
            region="eu-test",
            type="cpu",
            cpu_load=10.0 + self.number,
            gpu_utilization=0.0,
            active_jobs=len(self.jobs),
            capabilities=["echo", f"skill-{self.number}"],
            pool=self.pool,
            max_parallel_jobs=SLOTS,
            labels={"rack": f"r{self.number}"},
            memory_load=40.0,
            last_memo="at work" if self.jobs else "idle",
        )
        return sealed(packet(self.id, "heartbeat", beat, trace_id=self.id))

    async def on_cancel(self, message):
        heard = parse_packet(message.data)
        errors = validate_bus_packet(heard)
        cancel = heard.job_cancel
        if cancel.job_id not in self.jobs:
            return
        say(
            "cancel",
            worker_id=self.id,
            job_id=cancel.job_id,
            reason=cancel.reason,
            requested_by=cancel.requested_by,
            sender_id=heard.sender_id,
            errors=[f"{e.field}: {e.message}" for e in errors],
        )
        if not errors:
            self.jobs[cancel.job_id].set()

    async def handle(self, request):
        cancelled = self.jobs.setdefault(request.job_id, asyncio.Event())
        say("took", worker_id=self.id, job_id=request.job_id)
        try:
            result = await self.work(request, cancelled)
        finally:
            del self.jobs[request.job_id]
        say(
            "ended",
            worker_id=self.id,
            job_id=request.job_id,
            status=job_pb2.JobStatus.Name(result.status),
        )
        return result

    async def work(self, request, cancelled):
        for percent in request.labels["peer.percents"].split(","):
            if percent:
                payload = progress_payload(
                    self.id, request.job_id, "work", int(percent), f"at {percent} %"
                )
                await emit_progress(self.connection, payload)
        outcome = request.labels["peer.outcome"] or "succeed"
        if outcome == "hang":
            await cancelled.wait()
            return job_pb2.JobResult(status=job_pb2.JOB_STATUS_CANCELLED, execution_ms=5)
        if outcome == "fail":
            return job_pb2.JobResult(
                status=job_pb2.JOB_STATUS_FAILED,
                error_code="DISK_FULL",
                error_message="no space left",
                execution_ms=7,
            )
        if outcome == "fatal":
            return job_pb2.JobResult(
                status=job_pb2.JOB_STATUS_FAILED_FATAL,
                error_code_enum=job_pb2.ERROR_CODE_JOB_TIMEOUT,
                error_message="the ticket system did not answer",
                execution_ms=9,
            )
        return job_pb2.JobResult(
            status=job_pb2.JOB_STATUS_SUCCEEDED,
            result_ptr=f"redis://res:{request.job_id}",
            execution_ms=3,
        )


async def start_agent(url, redis):
    connections = []

    async def connect(**options):
        connections.append(await nats.connect(**options))
        return connections[-1]

    agent = Agent(
        nats_url=url,
        redis_url=redis,
        worker_id="peer-agent",
        pool="peer-agents",
        max_parallel=2,
        heartbeat_interval=HEARTBEAT_SECONDS,
        connect_fn=connect,
    )

    @agent.job("job.agent.echo")
    async def echo(context, data):
        say("took", worker_id="peer-agent", job_id=context.job_id)
        return {"echo": data}

    await agent.start()
    for connection in connections:
        await connection.flush()
    return agent


async def main(args):
    workers = [Worker(number, args.nats) for number in range(args.workers)]
    tasks = [task for worker in workers for task in await worker.start()]
    agent = await start_agent(args.nats, args.redis) if args.redis else None
    say("ready", workers=[worker.id for worker in workers])
    try:
        await asyncio.gather(*tasks)
    finally:
        if agent:
            await agent.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--redis")
    parser.add_argument("--workers", type=int, default=3)
    run(main(parser.parse_args()))
