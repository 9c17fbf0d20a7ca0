"""A foreign client that submits jobs and, where no scheduler lives, hands them out.

    client.py --nats URL [--redis URL] [--dispatch] JOB...

Each JOB is JSON: `job_id` and `topic`, and if wanted `tenant_id`, `labels`,
`risk_tags`, `workflow_id`, `compensation` ({topic, context_ptr, idempotency_key}),
`context` (stored in Redis, with a pointer to it in the request) and `worker`, to be
sent to that worker rather than to its topic. Prints `submitted` for each.
"""

import argparse
import asyncio
import json

import nats
from cap import RedisBlobStore, submit_job
from cap.pb.cordum.agent.v1 import job_pb2
from peer import packet, run, say, sealed

SCHEDULER = "peer-scheduler"


def request_of(job):
    request = job_pb2.JobRequest(
        job_id=job["job_id"],
        topic=job["topic"],
        tenant_id=job.get("tenant_id", "default"),
        priority=job_pb2.JOB_PRIORITY_INTERACTIVE,
        workflow_id=job.get("workflow_id", ""),
        labels=job.get("labels", {}),
    )
    request.meta.CopyFrom(
        job_pb2.JobMetadata(
            tenant_id=request.tenant_id,
            actor_id="peer-client",
            actor_type=job_pb2.ACTOR_TYPE_SERVICE,
            risk_tags=job.get("risk_tags", []),
        )
    )
    if "context" in job:
        request.context_ptr = f"redis://ctx:{request.job_id}"
    if "compensation" in job:
        undo = job["compensation"]
        request.compensation.CopyFrom(
            job_pb2.Compensation(
                topic=undo["topic"],
                context_ptr=undo.get("context_ptr", ""),
                meta=job_pb2.JobMetadata(
                    idempotency_key=undo.get("idempotency_key", "")
                ),
            )
        )
    return request


async def main(args):
    connection = await nats.connect(args.nats, name="peer-client")
    store = RedisBlobStore(args.redis) if args.redis else None
    for text in args.jobs:
        job = json.loads(text)
        request = request_of(job)
        if "context" in job:
            context = json.dumps(job["context"]).encode()
            await store.set(f"ctx:{request.job_id}", context)
        trace = f"trace-{request.job_id}"
        await submit_job(connection, request, trace, "peer-client")
        if args.dispatch:
            subject = request.topic
            if "worker" in job:
                subject = f"worker.{job['worker']}.jobs"
            made = packet(SCHEDULER, "job_request", request, trace_id=trace)
            await connection.publish(subject, sealed(made))
        await connection.flush()
        say("submitted", job_id=request.job_id)
    if store:
        await store.close()
    await connection.drain()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--redis")
    parser.add_argument("--dispatch", action="store_true")
    parser.add_argument("jobs", nargs="+")
    run(main(parser.parse_args()))
