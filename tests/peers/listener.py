"""Says what the SDK's own validator thinks of every packet on a subject.

    listener.py --nats URL SUBJECT

Prints `ready`, then a line `packet` for each message: its subject, the name of its
payload, the validator's errors, and the packet in the JSON of protobuf, with the
contract's field names.
"""

import argparse
import asyncio

import nats
from cap import validate_bus_packet
from cap.errors import MalformedPacketError
from cap.packet_boundary import parse_packet
from google.protobuf.json_format import MessageToDict
from peer import run, say


def verdict(message):
    try:
        packet = parse_packet(message.data)
    except MalformedPacketError as error:
        return {"payload": None, "errors": [str(error)], "packet": None}
    return {
        "payload": packet.WhichOneof("payload"),
        "errors": [f"{e.field}: {e.message}" for e in validate_bus_packet(packet)],
        "packet": MessageToDict(packet, preserving_proto_field_name=True),
    }


async def main(args):
    connection = await nats.connect(args.nats, name="peer-listener")

    async def heard(message):
        say("packet", subject=message.subject, **verdict(message))

    await connection.subscribe(args.subject, cb=heard)
    await connection.flush()
    say("ready")
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("subject")
    run(main(parser.parse_args()))
