"""As much of grpcio's server as a Terraform provider needs, over h2: for machines on which grpcio is not installed.

Unary calls, one answer each; a method that no handler knows is UNIMPLEMENTED, at once. The framing is that of
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""

import socket
import threading
from types import SimpleNamespace

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

UNIMPLEMENTED = 12
PREFIX = 5


class GenericRpcHandler:
    """What a server asks for a method's handler: `service(details)`, None for a method that it does not know."""


def unary_unary_rpc_method_handler(behavior):
    return behavior


def server(_executor, options=()):
    return Server()


class Server:
    def __init__(self):
        self._handlers = []
        self._socket = socket.create_server(("127.0.0.1", 0))

    def add_generic_rpc_handlers(self, handlers):
        self._handlers += handlers

    def add_insecure_port(self, address):
        return self._socket.getsockname()[1]

    def start(self):
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self, grace):
        self._socket.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=Calls(connection, self._find).serve, daemon=True).start()

    def _find(self, method):
        found = (handler.service(SimpleNamespace(method=method)) for handler in self._handlers)
        return next((behavior for behavior in found if behavior), None)


class Calls:
    """The calls of one connection."""

    def __init__(self, connection, find):
        self._socket, self._find = connection, find
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._called, self._bodies, self._answers = {}, {}, {}

    def serve(self):
        self._h2.initiate_connection()
        self._send()
        while data := self._receive():
            for event in self._h2.receive_data(data):
                self._handle(event)
            self._answer()
            self._send()

    def _receive(self):
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""

    def _send(self):
        self._socket.sendall(self._h2.data_to_send())

    def _handle(self, event):
        if isinstance(event, RequestReceived):
            behavior = self._find(dict(event.headers)[":path"])
            if behavior is None:
                self._head(event.stream_id, ("grpc-status", str(UNIMPLEMENTED)), end_stream=True)
            else:
                self._called[event.stream_id], self._bodies[event.stream_id] = behavior, b""
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id in self._called:
                self._bodies[event.stream_id] += event.data
        elif isinstance(event, StreamEnded) and event.stream_id in self._called:
            message = self._called.pop(event.stream_id)(self._bodies.pop(event.stream_id)[PREFIX:], None)
            self._head(event.stream_id)
            self._answers[event.stream_id] = b"\0" + len(message).to_bytes(4, "big") + message

    def _head(self, stream, *more, end_stream=False):
        headers = [(":status", "200"), ("content-type", "application/grpc"), *more]
        self._h2.send_headers(stream, headers, end_stream=end_stream)

    def _answer(self):
        """Send what the other side's window takes now; the rest when it has opened it further."""
        for stream, answer in list(self._answers.items()):
            rest = answer
            while rest and (
                room := min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            ):
                self._h2.send_data(stream, rest[:room])
                rest = rest[room:]
            self._answers[stream] = rest
            if not rest:
                self._h2.send_headers(stream, [("grpc-status", "0")], end_stream=True)
                del self._answers[stream]
