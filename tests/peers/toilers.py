"""Foreign workers that do many short jobs, and write down each one that they begin.

    toilers.py --nats URL --log FILE --workers N

Worker k is `toil-w<k>` in pool `toil` and takes what `worker.toil-w<k>.jobs` brings, on
the SDK's worker runtime, which runs a job as often as it is told to. The label
`toil.seconds` is how long a job takes, `toil.outcome` is `succeed` or `fatal`.

Appends a line `<job id> <worker>` to FILE before a job begins, and `done <job id>` when
it is done. Prints `ready`.
"""

import argparse
import asyncio
import os

import nats
from cap import emit_heartbeat, heartbeat_loop, run_worker
from cap.pb.cordum.agent.v1 import heartbeat_pb2, job_pb2
from peer import packet, run, say, sealed

HEARTBEAT_SECONDS = 0.5
# So few that a job is done within a second or two of being handed over, also on a busy
# machine: a plane sends again what left up to 3 s before a gap of the bus.
SLOTS = 4


class Toiler:
    def __init__(self, number, url, log):
        self.id = f"toil-w{number}"
        self.url = url
        self.log = log
        self.active = 0

    async def connect(self, **options):
        # A server that is gone for a while is no reason to end.
        connection = await nats.connect(
            **options, max_reconnect_attempts=-1, reconnect_time_wait=0.2
        )
        subscribe = connection.subscribe

        async def subscribed(*args, **more):
            subscription = await subscribe(*args, **more)
            self.line.set_result(connection)
            return subscription

        connection.subscribe = subscribed
        return connection

    async def start(self):
        # Heartbeats take the line that jobs come on, after the subscription to them, also
        # when the line is a new one: a plane that hears of a worker gives it jobs at once.
        self.line = asyncio.get_running_loop().create_future()
        work = run_worker(
            self.url,
            f"worker.{self.id}.jobs",
            self.handle,
            sender_id=self.id,
            connect_fn=self.connect,
        )
        work = asyncio.create_task(work)
        connection = await self.line
        await emit_heartbeat(connection, self.heartbeat())
        return [asyncio.create_task(self.beat(connection)), work]

    async def beat(self, connection):
        while True:
            try:
                await heartbeat_loop(connection, self.heartbeat, HEARTBEAT_SECONDS)
            except Exception as error:  # the line is gone; it comes back
                say("beat", worker_id=self.id, error=str(error))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def heartbeat(self):
        beat = heartbeat_pb2.Heartbeat(
            worker_id=self.id,
            region="eu-test",
            type="cpu",
            active_jobs=self.active,
            pool="toil",
            max_parallel_jobs=SLOTS,
        )
        return sealed(packet(self.id, "heartbeat", beat, trace_id=self.id))

    async def handle(self, request):
        line = f"{request.job_id} {self.id}\n"
        os.write(self.log, line.encode())
        self.active += 1
        try:
            await asyncio.sleep(float(request.labels["toil.seconds"] or "0.02"))
        finally:
            self.active -= 1
        os.write(self.log, f"done {request.job_id}\n".encode())
        if request.labels["toil.outcome"] == "fatal":
            return job_pb2.JobResult(
                status=job_pb2.JOB_STATUS_FAILED_FATAL,
                error_code_enum=job_pb2.ERROR_CODE_JOB_TIMEOUT,
                error_message="it cannot be done",
                execution_ms=1,
            )
        return job_pb2.JobResult(status=job_pb2.JOB_STATUS_SUCCEEDED, execution_ms=20)


async def main(args):
    log = os.open(args.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    toilers = [Toiler(number, args.nats, log) for number in range(args.workers)]
    tasks = [task for toiler in toilers for task in await toiler.start()]
    say("ready", workers=[toiler.id for toiler in toilers])
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--workers", type=int, default=4)
    run(main(parser.parse_args()))
