"""What the foreign peers of the tests share: packets and lines of JSON.

The peers speak CAP through the public SDK alone, so that the tests hold capdeck
to what other implementations send and accept.
"""

import asyncio
import json
import signal
import sys
import uuid

from cap.constants import DEFAULT_PROTOCOL_VERSION
from cap.packet_boundary import finalize_packet
from cap.pb.cordum.agent.v1 import buspacket_pb2


def say(event, **facts):
    """Prints one line of JSON, at once."""
    print(json.dumps({"event": event, **facts}, ensure_ascii=True), flush=True)


def packet(sender_id, payload, body, trace_id=None, **envelope):
    """An envelope around `body`, the payload of that name."""
    made = buspacket_pb2.BusPacket(
        trace_id=trace_id or str(uuid.uuid4()),
        sender_id=sender_id,
        protocol_version=DEFAULT_PROTOCOL_VERSION,
        **envelope,
    )
    made.created_at.GetCurrentTime()
    getattr(made, payload).CopyFrom(body)
    return made


def sealed(made):
    """The bytes of a packet that the SDK's own rules accept."""
    return finalize_packet(made).SerializeToString(deterministic=True)


def run(main):
    """Runs `main` until it ends or the process is asked to."""

    async def until_asked():
        task = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await main

    try:
        asyncio.run(until_asked())
    except asyncio.CancelledError:
        sys.exit(0)
