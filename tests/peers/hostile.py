"""Sends what a careless or malicious peer may send.

    hostile.py --nats URL [--beat]

With --beat the heartbeats are sent once more every half second until the process
ends, so that their senders stay alive. Prints `sent`: how many messages, how many
of them are not packets at all, and the ids that carry odd text.
"""

import argparse
import asyncio
import random

import nats
from cap.pb.cordum.agent.v1 import alert_pb2, heartbeat_pb2, job_pb2
from peer import packet, run, say

# What a terminal would obey: color, title, clipboard, cursor, bell; what a reader
# would be fooled by: right-to-left override, zero width, a tag, a line break.
ODD = "\x1b[31mred\x1b]0;title\x07\x1b]52;c;aGk=\x07\x1b[2J\u202egnp.exe\u200b\U000e0041\r\nnext\x00\x9b1m"
EVIL_WORKER = f"evil-worker-{ODD}"
EVIL_JOB = f"evil-job-{ODD}"


def heartbeat(worker_id, **fields):
    beat = heartbeat_pb2.Heartbeat(worker_id=worker_id, **fields)
    return packet(worker_id, "heartbeat", beat).SerializeToString()


def not_packets(chance):
    """Bytes that hold no packet, or a packet that says nothing."""
    for size in (1, 7, 64, 900, 60_000):
        yield b"\xff\xff\xff" + chance.randbytes(size)
    # The message without a byte is an envelope without a payload.
    yield b""
    whole = heartbeat("evil-cut", pool="p")
    yield whole[: len(whole) - 2]
    yield packet("evil-mute", "heartbeat", heartbeat_pb2.Heartbeat()).SerializeToString()[
        :4
    ]
    # A length that no message has.
    yield b"\x52\xff\xff\xff\xff\x0f"
    # A name that is not UTF-8, made by hand because no SDK would.
    name = b"evil-\xff\xfe"
    beat = b"\x0a" + bytes([len(name)]) + name
    yield b"\x12" + bytes([len(name)]) + name + b"\x62" + bytes([len(beat)]) + beat


def heartbeats():
    yield heartbeat(
        EVIL_WORKER,
        region=ODD,
        type=ODD,
        pool=ODD,
        capabilities=[ODD] * 3,
        labels={ODD: ODD},
        last_memo=ODD,
        agent_name=ODD,
        auth_token=ODD,
        active_jobs=1,
        max_parallel_jobs=2,
        cpu_load=12.0,
    )
    yield heartbeat(
        "evil-numbers",
        pool="evil",
        cpu_load=float("nan"),
        gpu_utilization=float("inf"),
        memory_load=-4e30,
        active_jobs=-(2**31),
        max_parallel_jobs=2**31 - 1,
        progress_pct=999,
    )
    # Field 99 of the envelope and field 77 of the heartbeat are in no contract.
    inner = heartbeat_pb2.Heartbeat(worker_id="evil-future", pool="evil")
    raw = inner.SerializeToString() + b"\xea\x04\x03new"
    envelope = packet("evil-future", "heartbeat", inner)
    envelope.ClearField("heartbeat")
    yield (
        envelope.SerializeToString()
        + b"\x62"
        + bytes([len(raw)])
        + raw
        + b"\x9a\x06\x02\x08\x01"
    )


def lives():
    """Jobs whose packets contradict the contract or each other."""

    def send(subject, payload, body, sender="evil-sender"):
        return subject, packet(sender, payload, body).SerializeToString()

    def submit(job_id, topic="job.evil.work", **fields):
        request = job_pb2.JobRequest(job_id=job_id, topic=topic, **fields)
        return send("sys.job.submit", "job_request", request)

    def progress(job_id, percent, **fields):
        body = job_pb2.JobProgress(job_id=job_id, percent=percent, **fields)
        return send("sys.job.progress", "job_progress", body)

    def result(job_id, status, subject="sys.job.result", **fields):
        body = job_pb2.JobResult(job_id=job_id, status=status, **fields)
        return send(subject, "job_result", body)

    yield submit(
        EVIL_JOB,
        topic="job.evil.odd",
        context_ptr=ODD,
        adapter_id=ODD,
        tenant_id=ODD,
        principal_id=ODD,
        workflow_id=ODD,
        parent_job_id=ODD,
        memory_id=ODD,
        labels={ODD: ODD},
        env={ODD: ODD},
        meta=job_pb2.JobMetadata(actor_id=ODD, capability=ODD, risk_tags=[ODD]),
        compensation=job_pb2.Compensation(topic=ODD, context_ptr=ODD),
    )
    yield progress(EVIL_JOB, 30, message=ODD, step_id=ODD)

    yield submit("evil-percent")
    yield progress("evil-percent", 40)
    yield progress("evil-percent", 140)
    yield progress("evil-percent", -5)

    yield submit("evil-unfinished")
    yield progress("evil-unfinished", 20)
    yield result("evil-unfinished", job_pb2.JOB_STATUS_RUNNING, worker_id="evil-sender")

    yield submit("evil-status")
    yield result("evil-status", 42, worker_id="evil-sender")

    yield submit("evil-late")
    yield progress("evil-late", 90)
    yield result("evil-late", job_pb2.JOB_STATUS_SUCCEEDED, worker_id="evil-sender")
    yield progress("evil-late", 10)
    yield submit("evil-late")

    # As a scheduler writes a dead letter: nobody's worker, the job for a trace.
    yield submit("evil-dead")
    body = job_pb2.JobResult(
        job_id="evil-dead",
        status=job_pb2.JOB_STATUS_DENIED,
        error_code="safety_denied",
        error_message=ODD,
    )
    dead = packet("cordum-scheduler", "job_result", body, trace_id="evil-dead")
    yield "sys.job.dlq", dead.SerializeToString()

    # Results and cancels of jobs that nobody knows, and of no job.
    yield result("", job_pb2.JOB_STATUS_FAILED)
    yield send("sys.job.cancel", "job_cancel", job_pb2.JobCancel(job_id="evil-nobody"))
    yield send(
        "sys.alert",
        "alert",
        alert_pb2.SystemAlert(level=ODD, message=ODD, component=ODD, code=ODD),
    )
    # The right payload on the wrong subject.
    yield send(
        "sys.job.result",
        "heartbeat",
        heartbeat_pb2.Heartbeat(worker_id="evil-lost", pool="evil"),
    )
    yield submit("evil-large", labels={"large": "x" * 500_000})


async def main(args):
    connection = await nats.connect(args.nats, name="peer-hostile")
    chance = random.Random(20)
    rubbish = list(not_packets(chance))
    subjects = ["sys.heartbeat", "sys.job.result", "job.evil.x", "sys.odd.subject"]
    for number, payload in enumerate(rubbish):
        await connection.publish(subjects[number % len(subjects)], payload)
    packets = list(lives())
    for subject, payload in packets:
        await connection.publish(subject, payload)
    beats = list(heartbeats())
    for payload in beats:
        await connection.publish("sys.heartbeat", payload)
    await connection.flush()
    say(
        "sent",
        messages=len(rubbish) + len(packets) + len(beats),
        not_packets=len(rubbish),
        odd=ODD,
        worker_id=EVIL_WORKER,
        job_id=EVIL_JOB,
    )
    while args.beat:
        await asyncio.sleep(0.5)
        for payload in beats:
            await connection.publish("sys.heartbeat", payload)
    await connection.drain()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--beat", action="store_true")
    run(main(parser.parse_args()))
