"""A collector of traces that throws them away: `python -m bench.collector PORT`. Its CPU is no part of any figure."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc


class Collector(pb_grpc.TraceServiceServicer):
    """Takes everything."""

    def Export(  # noqa: N802 -- the contract's name
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        """Says thank you."""
        return pb.ExportTraceServiceResponse()


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    pb_grpc.add_TraceServiceServicer_to_server(Collector(), server)
    server.start()
    server.wait_for_termination()
