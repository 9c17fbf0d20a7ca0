"""Asks a safety kernel as the public SDK's own gRPC client does.

    kernel_client.py ADDR [--ca FILE [--cert FILE --key FILE]] CALL...

Each CALL is JSON: `call`, the name of a method of the service, and `request`, its
message as protojson; `pad` adds so many bytes of input content. The calls `Health`
and `Watch` ask gRPC's health service about `service`; after the first word of a
watch the program says `watching` and stays until it is ended or the kernel is gone.
Prints an `answer` with the `response`, or a `failure` with its `code`, for each.
"""

import argparse
import json
import pathlib

import grpc
from cap.pb.cordum.agent.v1 import safety_pb2, safety_pb2_grpc
from google.protobuf import json_format
from peer import say

HEALTH = "/grpc.health.v1.Health"
STATUS = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]
LIMIT_S = 15


def asked(service):
    """A HealthCheckRequest: field 1 is the name of the service."""
    name = service.encode()
    return bytes([0x0A, len(name)]) + name if name else b""


def told(answer):
    """The word of a HealthCheckResponse, whose field 1 is a number."""
    return STATUS[answer[1]] if answer else STATUS[0]


def health(channel, call):
    method = getattr(channel, "unary_stream" if call["call"] == "Watch" else "unary_unary")
    name = "Watch" if call["call"] == "Watch" else "Check"
    return method(
        f"{HEALTH}/{name}", request_serializer=asked, response_deserializer=told
    )


def ask(channel, call):
    name = call["call"]
    if name == "Health":
        status = health(channel, call)(call["service"], timeout=LIMIT_S)
        return {"status": status}
    kind = safety_pb2.PolicyCheckRequest
    if name == "ListSnapshots":
        kind = safety_pb2.ListSnapshotsRequest
    request = json_format.ParseDict(call.get("request", {}), kind())
    if "pad" in call:
        request.input_content = bytes(call["pad"])
    stub = safety_pb2_grpc.SafetyKernelStub(channel)
    response = getattr(stub, name)(request, timeout=LIMIT_S)
    return json_format.MessageToDict(response)


def watch(channel, call):
    for status in health(channel, call)(call["service"]):
        say("watching", status=status)


def main(args):
    # The limit under test is the kernel's, not that of this client.
    options = [("grpc.max_send_message_length", -1)]
    if args.ca:
        files = [args.ca, args.key, args.cert]
        proof = [pathlib.Path(file).read_bytes() if file else None for file in files]
        trust = grpc.ssl_channel_credentials(*proof)
        channel = grpc.secure_channel(args.address, trust, options)
    else:
        channel = grpc.insecure_channel(args.address, options)
    with channel:
        for text in args.calls:
            call = json.loads(text)
            try:
                if call["call"] == "Watch":
                    watch(channel, call)
                else:
                    say("answer", call=call["call"], response=ask(channel, call))
            except grpc.RpcError as error:
                code = error.code().name
                say("failure", call=call["call"], code=code, says=error.details())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    for name in ["--ca", "--cert", "--key"]:
        parser.add_argument(name)
    parser.add_argument("calls", nargs="+")
    main(parser.parse_args())
