"""A shop with devices, on the public API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auth.principals import View
from tests.api import documents as doc
from tests.api.city import City, key, new_phone

ERROR = doc.ERROR
COMMAND = "__typename id state expiresAt closedAt outcome failure detail reportedAt availableActions"
PAYLOAD = """payload { __typename ... on PrintTicket { kind title number mode table note dueAt
    lines { name options quantity total { amount } } total { amount currency } }
    ... on OpenGate { gate seconds reason } ... on ShowBoard { board store { id } } }"""
UNFIT = (
    "... on DeviceNotActive { deviceState } ... on CapabilityMissing { capability } ... on DeviceBacklogged { pending }"
)
OVER = "... on CommandActionNotAllowed { state action closedAt }"

REGISTER = f"""mutation ($store: ID!, $name: String!, $station: DeviceStation!, $can: [DeviceCapability!]!) {{
    registerDevice(input: {{store: $store, name: $name, station: $station, capabilities: $can}}) {{
    ... on DevicePairing {{ code expiresAt device {{ id state pending }} }} {ERROR} }} }}"""
PAIR = f"""mutation ($device: ID!) {{ pairDevice(device: $device) {{
    ... on DevicePairing {{ code device {{ id state }} }} {ERROR} }} }}"""
RENAME = f"""mutation ($device: ID!, $name: String!) {{ renameDevice(device: $device, name: $name) {{
    ... on Device {{ __typename id name }} {ERROR} }} }}"""
ASSIGN = f"""mutation ($device: ID!, $station: DeviceStation!, $can: [DeviceCapability!]!) {{
    assignDevice(device: $device, station: $station, capabilities: $can) {{
    ... on Device {{ __typename id station capabilities }} {ERROR} }} }}"""
DISABLE = f"""mutation ($device: ID!) {{ disableDevice(device: $device) {{
    ... on Device {{ __typename id state pending online }} {ERROR} }} }}"""
SEND = f"""mutation ($device: ID!, $content: CommandContentInput!, $key: String!, $in: Int) {{
    sendDeviceCommand(device: $device, content: $content, idempotencyKey: $key, expiresInSeconds: $in) {{
    ... on DeviceCommand {{ {COMMAND} {PAYLOAD} order {{ id }} }} {UNFIT} {ERROR} }} }}"""
RESEND = f"""mutation ($command: ID!, $key: String!) {{ resendDeviceCommand(command: $command, idempotencyKey: $key) {{
    ... on DeviceCommand {{ {COMMAND} {PAYLOAD} }} {UNFIT} {OVER} {ERROR} }} }}"""
CANCEL = f"""mutation ($command: ID!) {{ cancelDeviceCommand(command: $command) {{
    ... on DeviceCommand {{ {COMMAND} }} {OVER} {ERROR} }} }}"""
ACK = f"""mutation ($command: ID!, $outcome: CommandOutcome!, $failure: CommandFailure, $detail: String) {{
    acknowledgeCommand(command: $command, outcome: $outcome, failure: $failure, detail: $detail) {{
    ... on DeviceCommand {{ {COMMAND} }} {OVER} {ERROR} }} }}"""
COMMANDS = f"""subscription ($after: String) {{ deviceCommands(after: $after) {{ cursor kind type at reset {{ reason }}
    commands {{ {COMMAND} {PAYLOAD} device {{ id name }} }} }} }}"""
PENDING = f"query ($first: Int!) {{ pendingCommands(first: $first) {{ {COMMAND} {PAYLOAD} }} }}"
DEVICE = f"""query ($id: ID!) {{ device(id: $id) {{ id name state online pending waitingSince problem lastSeenAt
    commands(first: 50) {{ nodes {{ {COMMAND} {PAYLOAD} deliveredAt order {{ id }} }} }} }} }}"""
DEVICES = """subscription ($store: ID!) { storeDevices(store: $store) { cursor kind
    devices { id name state online pending problem } } }"""
LISTED = "query ($id: ID!) { store(id: $id) { devices { id name station capabilities state } } }"

NOTE = {"printNote": {"title": "Test", "lines": ["one", "two"]}}
GATE = {"openGate": {"gate": "north", "seconds": 3}}
BOARD = {"showBoard": {"board": "QUEUE"}}


async def exchange(city: City, code: str) -> tuple[int, dict[str, Any]]:
    """What the hardware does with the code that somebody typed in."""
    async with city.http.post(f"{city.url}/oauth/register", headers={"authorization": f"Bearer {code}"}) as response:
        return response.status, await response.json()


async def sign_in(city: City, credentials: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": "client_credentials"} | {n: credentials[n] for n in ("client_id", "client_secret")}
    async with city.http.post(f"{city.url}/oauth/token", data=form) as response:
        return response.status, await response.json()


@dataclass
class Shop:
    """``sku`` is sold at ``store``, where ``owner`` and ``clerk`` work; ``device`` is paired, ``token`` its own."""

    city: City
    owner: str
    clerk: str
    store: str
    sku: str
    device: str
    token: str

    async def add(self, name: str, *can: str, station: str = "KITCHEN") -> tuple[str, str]:
        """``(device, its token)``."""
        made = await self.city.do(self.owner, REGISTER, store=self.store, name=name, station=station, can=list(can))
        status, credentials = await exchange(self.city, made["code"])
        assert status == 201, credentials
        status, answer = await sign_in(self.city, credentials)
        assert status == 200, answer
        return made["device"]["id"], answer["access_token"]

    async def send(self, content: dict[str, Any] = NOTE, *, by: str | None = None, **more: Any) -> Any:
        variables = {"device": self.device, "content": content, "key": key()} | more
        return await self.city.do(by or self.owner, SEND, **variables)

    async def acknowledge(self, command: str, outcome: str = "DONE", **more: Any) -> Any:
        return await self.city.do(self.token, ACK, command=command, outcome=outcome, **more)

    async def accepted(self, mode: str = "PICKUP") -> str:
        order = await self.city.paid(await self.city.consumer(), self.store, self.sku, mode)
        assert (await self.city.do(self.owner, doc.ACCEPT, order=order))["state"] == "ACCEPTED"
        return order

    async def sent(self, device: str | None = None) -> list[dict[str, Any]]:
        """What the device was sent, oldest first."""
        found = await self.city.do(self.owner, DEVICE, id=device or self.device)
        return found["commands"]["nodes"][::-1]


async def open_shop(city: City, *can: str) -> Shop:
    owner, store, sku = await city.shop()
    phone = new_phone()
    assert "code" not in await city.do(owner, doc.GRANT_CLERK, store=store, phone=phone)
    person = await city.fetchval("SELECT id FROM person WHERE phone = $1", phone)
    clerk = await city.open_session(person, View.MERCHANT)
    shop = Shop(city, owner, clerk, store, sku, "", "")
    shop.device, shop.token = await shop.add("Printer", *(can or ("PRINT", "GATE", "BOARD")))
    return shop
