"""A WebSocket client over HTTP/2 (RFC 8441): `websocket2.py ADDRESS COOKIE`. Lines are those of `websocket1.py`."""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader


class Client:
    def __init__(self, address, cookie):
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        tls.set_alpn_protocols(["h2"])
        plain = socket.create_connection((address, 443), timeout=20)
        self.socket = tls.wrap_socket(plain, server_hostname="mail.example.com")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.reader = StreamReader()
        self.status = None
        while self.h2.remote_settings.enable_connect_protocol != 1:
            self.turn()
        self.stream = self.h2.get_next_available_stream_id()
        fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/ws"),
            (":authority", "mail.example.com"),
            ("sec-websocket-version", "13"),
            ("cookie", cookie),
        ]
        self.h2.send_headers(self.stream, fields)
        while self.status is None:
            self.turn()
        assert self.status == "200", self.status

    def turn(self):
        """Sends what is to be sent and takes what comes."""
        self.socket.sendall(self.h2.data_to_send())
        received = self.socket.recv(65536)
        assert received, "the connection has ended"
        for event in self.h2.receive_data(received):
            if isinstance(event, h2.events.ResponseReceived):
                self.status = dict(event.headers)[":status"]
            elif isinstance(event, h2.events.DataReceived):
                self.reader.feed_data(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise ConnectionError(event)
        self.socket.sendall(self.h2.data_to_send())

    def send(self, opcode, payload):
        data = Frame(opcode, payload).serialize(mask=True)
        while data:
            window = self.h2.local_flow_control_window(self.stream)
            size = min(window, self.h2.max_outbound_frame_size)
            if size == 0:
                self.turn()
                continue
            self.h2.send_data(self.stream, data[:size])
            self.socket.sendall(self.h2.data_to_send())
            data = data[size:]

    def frame(self):
        parsing = Frame.parse(self.reader.read_exact, mask=False)
        while True:
            try:
                next(parsing)
                self.turn()
            except StopIteration as end:
                return end.value

    def receive(self):
        """A message, whose frames may be many."""
        message = b""
        while True:
            frame = self.frame()
            if frame.opcode == Opcode.PING:
                self.send(Opcode.PONG, frame.data)
                continue
            message += frame.data
            if frame.fin:
                return message.decode()


def main(address, cookie):
    client = Client(address, cookie)
    print("open", flush=True)
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        message = "y" * int(number) if command == "long" else line.strip()
        client.send(Opcode.TEXT, message.encode())
        answer = client.receive()
        print(answer if len(answer) < 100 else len(answer), flush=True)
    client.send(Opcode.CLOSE, (1000).to_bytes(2, "big"))
    closing = client.frame()
    assert closing.opcode == Opcode.CLOSE
    print("closed", int.from_bytes(closing.data[:2], "big"), flush=True)


main(*sys.argv[1:])
