"""What must happen on the server in one step, as Lua, and the keys beside a stream.

A group's state is where Redis keeps it: the pending entries, their owners and their delivery
counts. Three more keys for each stream and group, in the stream's hash slot, hold what Redis 6.2
to 7 has no place for:

- `until` (a sorted set): entry id -> the moment, by the server's clock in milliseconds, before
  which nobody may claim it: the end of a nack's delay, or of a lease extended by hand. It
  overrides the idle time. An entry leaves it by being claimed or acknowledged.
- `wake` (a stream with a group of the same name): one entry for each time that something became
  free or got a due moment. Every consumer reads it together with the stream, so one of those that
  wait wakes up; and since an entry stays until it is read, no wake-up falls between the decision
  to wait and the waiting.
- `scan` (a key that expires): while it is there, somebody has looked for ended leases a moment
  ago. It limits a rate and locks nothing.

What is given back belongs to the consumer `FREE`, which nobody reads as: so the holder that gave
it back is fenced like any other former holder, by not being its owner.

A *lease* is `id/count`: the entry and the delivery count it was handed out with. It is still the
caller's if he owns the entry and the count is the same; scripts take leases joined by spaces.
Every script gets KEYS stream, until, wake, scan, and ARGV[1] the group, ARGV[2] the consumer.
"""

import hashlib
from typing import Final, NamedTuple

__all__ = (
    "ACK",
    "BURY",
    "CLAIM",
    "EXTEND",
    "FREE",
    "GIVE_BACK",
    "LEAVE",
    "RECOVER",
    "Place",
    "Script",
    "ScriptCall",
    "place_of",
)

FREE: Final = b"acked-given-back"
"""The consumer that owns what was given back and waits to be claimed."""


class Script:
    """Lua for the server, and the digest by which the server remembers it."""

    def __init__(self, *parts: str) -> None:
        self.source: Final = "\n".join(parts).encode()
        self.digest: Final = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - EVALSHA


class Place(NamedTuple):
    """A stream as one group sees it: its key and the keys beside it, with the group's name."""

    stream: bytes
    until: bytes
    wake: bytes
    scan: bytes
    group: bytes


class ScriptCall(NamedTuple):
    """A script with what it is called with."""

    script: Script
    keys: tuple[bytes, ...]
    arguments: tuple[bytes, ...]

    def by_digest(self) -> tuple[bytes, ...]:
        """Return the command that works where the server knows the script."""
        return (b"EVALSHA", self.script.digest, *self._rest())

    def by_source(self) -> tuple[bytes, ...]:
        """Return the command that works everywhere and teaches the server the script."""
        return (b"EVAL", self.script.source, *self._rest())

    def _rest(self) -> tuple[bytes, ...]:
        return (b"%d" % len(self.keys), *self.keys, *self.arguments)


def place_of(topic: str, group: str) -> Place:
    """Return the keys of `topic` for `group`, all in one hash slot.

    The group's name is escaped so that no two pairs of names meet in one key.
    """
    escaped = group.replace("%", "%25").replace(":", "%3A")
    tag = _hash_tag(topic)
    named = f"{{{tag}}}" if tag == topic else f"{{{tag}}}:{topic}"
    until, wake, scan = (f"acked:{named}:{escaped}:{end}" for end in ("until", "wake", "scan"))
    return Place(topic.encode(), until.encode(), wake.encode(), scan.encode(), group.encode())


def _hash_tag(key: str) -> str:
    """Return the part of `key` that Redis Cluster hashes (cluster specification, hash tags)."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    return tag if opened and closed and tag else key


_FREE = f"local FREE = '{FREE.decode()}'"

_NOW = """
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
"""

_WAKE = """
-- Without memory for it the wake-up is left out: consumers look by themselves every second.
local function wake()
  redis.pcall('XADD', KEYS[3], 'MAXLEN', '8', '*', 'w', '1')
end
"""

_FENCED = """
-- Split leases into those that are still the caller's (ids, counts, positions) and those that are
-- not (positions). A page of XPENDING starts at the first id that is not answered yet and is as
-- long as the last one was useful: one call where the leases are neighbours, as they are when a
-- consumer settles what it just read.
local function fenced(leases)
  local ids, counts, n = {}, {}, 0
  for id, count in string.gmatch(leases, '([%d-]+)/(%d+)') do
    n = n + 1
    ids[n], counts[n] = id, tonumber(count)
  end
  local owned, kept, places, lost = {}, {}, {}, {}
  local seen, size, asked = {}, n, 1
  for i = 1, n do
    local id = ids[i]
    if seen[id] == nil then
      if i > 1 then size = math.max(4, math.min(n - i + 1, 2 * (i - asked))) end
      asked = i
      local page = redis.call('XPENDING', KEYS[1], ARGV[1], id, '+', size, ARGV[2])
      for _, entry in ipairs(page) do seen[entry[1]] = entry[4] end
    end
    if seen[id] == counts[i] then
      local k = #owned + 1
      owned[k], kept[k], places[k] = id, counts[i], i
      seen[id] = false
    else
      lost[#lost + 1] = i
    end
  end
  return owned, lost, kept, places
end
"""

_ACKED = """
local function ack(ids)
  if #ids == 0 then return end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
  if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('ZREM', KEYS[2], unpack(ids)) end
end
"""

_TAKE = """
-- Make an entry the caller's, with this delivery count. One that was trimmed away is
-- acknowledged and counted instead. (Redis 6.2 shows it as nil, 7 leaves it out.)
local taken, trimmed = {}, 0
local function take(id, count)
  local claimed = redis.call(
    'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', count)
  local entry = claimed[1]
  if entry and entry[2] then
    taken[#taken + 1] = {id, count, entry[2]}
  else
    trimmed = trimmed + 1
    redis.call('XACK', KEYS[1], ARGV[1], id)
  end
end
"""

ACK: Final = Script(
    _FENCED,
    _ACKED,
    """
-- ARGV[3] leases. Returns the positions of those that were lost, and 0: none by trimming.
local owned, lost = fenced(ARGV[3])
ack(owned)
return {lost, 0}
""",
)

GIVE_BACK: Final = Script(
    _FREE,
    _NOW,
    _WAKE,
    _FENCED,
    """
-- ARGV[3] leases, ARGV[4] a delay in milliseconds, ARGV[5] how much to take off the delivery
-- count. Returns the positions of those that were lost, and how many of these by trimming.
local owned, lost, counts, places = fenced(ARGV[3])
local due, trimmed = now() + ARGV[4], 0
for i, id in ipairs(owned) do
  redis.call('ZADD', KEYS[2], due, id)
  local moved = redis.call('XCLAIM', KEYS[1], ARGV[1], '"""
    + FREE.decode()
    + """', 0, id,
    'RETRYCOUNT', math.max(0, counts[i] - ARGV[5]), 'JUSTID')
  if #moved == 0 then
    redis.call('ZREM', KEYS[2], id)
    trimmed = trimmed + 1
    lost[#lost + 1] = places[i]
  end
end
if #owned > 0 then wake() end
return {lost, trimmed}
""",
)

BURY: Final = Script(
    _FENCED,
    _ACKED,
    """
-- KEYS[5] the dead letters' stream; ARGV[3] one lease, ARGV[4...] the fields of its copy.
-- Returns what ACK does. An XADD that fails leaves all as it was.
local owned, lost = fenced(ARGV[3])
if #owned == 1 then
  redis.call('XADD', KEYS[5], '*', unpack(ARGV, 4))
  ack(owned)
end
return {lost, 0}
""",
)

EXTEND: Final = Script(
    _NOW,
    _FENCED,
    """
-- ARGV[3] leases, ARGV[4] their new idle time, ARGV[5] milliseconds until they end if that is
-- more than a lease, else 0. Returns what GIVE_BACK does.
local owned, lost, _, places = fenced(ARGV[3])
if #owned == 0 then return {lost, 0} end
if ARGV[5] ~= '0' then
  local ends = now() + ARGV[5]
  for _, id in ipairs(owned) do redis.call('ZADD', KEYS[2], ends, id) end
elseif redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZREM', KEYS[2], unpack(owned))
end
local words = {KEYS[1], ARGV[1], ARGV[2], 0}
for _, id in ipairs(owned) do words[#words + 1] = id end
for _, word in ipairs({'IDLE', ARGV[4], 'JUSTID'}) do words[#words + 1] = word end
local still, trimmed = {}, 0
for _, id in ipairs(redis.call('XCLAIM', unpack(words))) do still[id] = true end
for i, id in ipairs(owned) do
  if not still[id] then
    redis.call('ZREM', KEYS[2], id)
    trimmed = trimmed + 1
    lost[#lost + 1] = places[i]
  end
end
return {lost, trimmed}
""",
)

CLAIM: Final = Script(
    _FREE,
    _NOW,
    _WAKE,
    _TAKE,
    """
-- ARGV[3] the lease and ARGV[4] the time between two looks for ended ones, in milliseconds;
-- ARGV[5] how many to take at most; ARGV[6...] the wake-ups that led here.
-- Returns {id, count, fields} for each, how many were trimmed away, in how many milliseconds
-- the next one is due (-1: none is known), and whether there is more now.
local limit, time, more = tonumber(ARGV[5]), now(), 0
if ARGV[6] then redis.pcall('XACK', KEYS[3], ARGV[1], unpack(ARGV, 6)) end

local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time, 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if pending then take(id, pending[4] + 1) end
end
if #due > 0 then redis.call('ZREM', KEYS[2], unpack(due)) end
if #due == limit then more = 1 end

-- What one consumer holds beyond its lease. Owners are asked one by one: FREE may own very
-- much, all of it in the sorted set, unless somebody has deleted that.
local function expired(owner)
  local start, page = '-', nil
  repeat
    page = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], start, '+', 100, owner)
    for _, entry in ipairs(page) do
      if #taken >= limit then return end
      start = '(' .. entry[1]
      local ends = redis.call('ZSCORE', KEYS[2], entry[1])
      if not ends or tonumber(ends) <= time then
        take(entry[1], entry[4] + 1)
        if ends then redis.call('ZREM', KEYS[2], entry[1]) end
      end
    end
  until #page < 100
end

local function scan()
  local a_day = 86400000
  for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local owner = {}
    for i = 1, #row, 2 do owner[row[i]] = row[i + 1] end
    if owner.name == '"""
    + FREE.decode()
    + """' then
      if redis.call('ZCARD', KEYS[2]) < owner.pending then expired(owner.name) end
    elseif owner.pending > 0 then
      expired(owner.name)
    elseif owner.idle > a_day then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], owner.name)
      redis.pcall('XGROUP', 'DELCONSUMER', KEYS[3], ARGV[1], owner.name)
    end
  end
end

-- False: somebody else has scanned. An error: no memory for the key, so scan all the same.
if #taken < limit and redis.pcall('SET', KEYS[4], '1', 'PX', ARGV[4], 'NX') then
  scan()
  if #taken >= limit then
    redis.call('DEL', KEYS[4])
    more = 1
  end
end
if more == 1 then wake() end

local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local next = -1
if first[2] then next = math.max(0, tonumber(first[2]) - time) end
return {taken, trimmed, next, more}
""",
)

RECOVER: Final = Script(
    _TAKE,
    """
-- ARGV[3] how many to take at most, ARGV[4] the leases the consumer knows of.
-- Returns {id, count, fields} for what it owns and does not know, and how many were trimmed.
local limit, known = tonumber(ARGV[3]), {}
for lease in string.gmatch(ARGV[4], '%S+') do known[lease] = true end
local start, page = '-', nil
repeat
  page = redis.call('XPENDING', KEYS[1], ARGV[1], start, '+', 100, ARGV[2])
  for _, entry in ipairs(page) do
    start = '(' .. entry[1]
    if #taken < limit and not known[entry[1] .. '/' .. entry[4]] then take(entry[1], entry[4]) end
  end
until #page < 100 or #taken >= limit
return {taken, trimmed}
""",
)

LEAVE: Final = Script(
    _FREE,
    _NOW,
    _WAKE,
    """
-- ARGV[3] the leases the consumer knows of. Gives back all it owns; what it never knew of is not
-- charged. Deletes the consumer, which then owns nothing: this is the same atomic step.
local known, due, page, any = {}, now(), nil, false
for lease in string.gmatch(ARGV[3], '%S+') do known[lease] = true end
repeat
  page = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 100, ARGV[2])
  for _, entry in ipairs(page) do
    any = true
    local id, count = entry[1], entry[4]
    if not known[id .. '/' .. count] then count = math.max(0, count - 1) end
    redis.pcall('ZADD', KEYS[2], due, id)
    redis.call('XCLAIM', KEYS[1], ARGV[1], '"""
    + FREE.decode()
    + """', 0, id, 'RETRYCOUNT', count, 'JUSTID')
  end
until #page == 0
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.pcall('XGROUP', 'DELCONSUMER', KEYS[3], ARGV[1], ARGV[2])
if any then wake() end
return 1
""",
)
