"""What must happen on the server in one step, as Lua.

A group's state is where Redis keeps it: the pending entries, their owners and their delivery
counts; and in the three keys of a `Place`.

What is given back belongs to the consumer `FREE`, which nobody reads as: so the holder that gave
it back is fenced like any other former holder, by not being its owner.

A *lease* is the entry and the delivery count it was handed out with: `id/count`, or only `id` for
the first delivery. It is still the caller's if he owns the entry and the count is the same.
Every script gets KEYS stream, until, wake, scan, and ARGV[1] the group, ARGV[2] the consumer.
"""

import hashlib
from typing import Final, NamedTuple

__all__ = (
    "ACK",
    "BURY",
    "CLAIM",
    "CREATE",
    "EXTEND",
    "FREE",
    "GIVE_BACK",
    "LEAVE",
    "RECOVER",
    "REMOVE",
    "Script",
    "ScriptCall",
)

FREE: Final = b"acked-given-back"
"""The consumer that owns what was given back and waits to be claimed."""


class Script:
    """Lua for the server, and the digest by which the server remembers it."""

    def __init__(self, *parts: str) -> None:
        self.source: Final = "\n".join(parts).encode()
        self.digest: Final = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - EVALSHA


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
local function lease_of(word)
  local id, count = string.match(word, '^(.+)/(%d+)$')
  return id or word, tonumber(count or 1)
end

-- Split the leases from ARGV[first] to ARGV[last] into those that are still the caller's (ids,
-- counts, positions) and those that are not (positions). A page of XPENDING starts at the first
-- id that is not answered yet and is as long as the last one was useful: so one call, or few,
-- where the leases are neighbours.
local function fenced(first, last)
  local owned, counts, places, lost = {}, {}, {}, {}
  local n, seen, asked = last - first + 1, {}, 1
  local size = n
  for i = 1, n do
    local id, count = lease_of(ARGV[first + i - 1])
    if seen[id] == nil then
      if i > 1 then size = math.max(4, math.min(n - i + 1, 2 * (i - asked))) end
      asked = i
      local page = redis.call('XPENDING', KEYS[1], ARGV[1], id, '+', size, ARGV[2])
      for _, entry in ipairs(page) do seen[entry[1]] = entry[4] end
    end
    if seen[id] == count then
      local k = #owned + 1
      owned[k], counts[k], places[k] = id, count, i
      seen[id] = false
    else
      lost[#lost + 1] = i
    end
  end
  return owned, lost, counts, places
end
"""

_ACKED = """
local function ack(ids, first)
  if #ids < first then return end
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ids, first))
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('ZREM', KEYS[2], unpack(ids, first))
  end
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

CREATE: Final = Script(
    """
-- ARGV[3] the id after which a new group begins. Moments of a group of that name that was deleted
-- would make entries of the new one free that are held.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[3], 'MKSTREAM')
if not made.err then
  redis.call('DEL', KEYS[2])
elseif not string.find(made.err, 'BUSYGROUP') then
  return made
end
made = redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[1], '$', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
return 1
""",
)

REMOVE: Final = Script(
    """
-- Removes the group and what is beside it; 0, and no change, if a consumer holds something.
-- ARGV[2] the consumer that owns what was given back.
local found = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
for _, consumer in ipairs(found.err and {} or found) do
  if consumer[2] ~= ARGV[2] and consumer[4] > 0 then return 0 end
end
redis.pcall('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) -- an error: there is no such stream
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
return 1
""",
)

ACK: Final = Script(
    _FENCED,
    _ACKED,
    """
-- ARGV[3...] leases. Returns the positions of those that were lost, and 0: none by trimming.
-- What a consumer read at once and acknowledges at once is exactly one page of its first
-- deliveries: comparing the two costs half of what `fenced` does.
local n, same = #ARGV - 2, 0
local page = redis.call('XPENDING', KEYS[1], ARGV[1], lease_of(ARGV[3]), '+', n, ARGV[2])
for i, entry in ipairs(page) do
  if entry[1] ~= ARGV[i + 2] or entry[4] ~= 1 then break end
  same = i
end
if same == n then
  ack(ARGV, 3)
  return {{}, 0}
end
local owned, lost = fenced(3, #ARGV)
ack(owned, 1)
return {lost, 0}
""",
)

GIVE_BACK: Final = Script(
    _FREE,
    _NOW,
    _WAKE,
    _FENCED,
    """
-- ARGV[3] a delay in milliseconds, ARGV[4] how much to take off the delivery count,
-- ARGV[5...] leases. Returns the positions of those that were lost, and how many of these were
-- trimmed away.
local owned, lost, counts, places = fenced(5, #ARGV)
local due, trimmed = now() + ARGV[3], 0
for i, id in ipairs(owned) do
  redis.call('ZADD', KEYS[2], due, id)
  local moved = redis.call('XCLAIM', KEYS[1], ARGV[1], '"""
    + FREE.decode()
    + """', 0, id,
    'RETRYCOUNT', math.max(0, counts[i] - ARGV[4]), 'JUSTID')
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
local owned, lost = fenced(3, 3)
if #owned == 1 then
  redis.call('XADD', KEYS[5], '*', unpack(ARGV, 4))
  ack(owned, 1)
end
return {lost, 0}
""",
)

EXTEND: Final = Script(
    _NOW,
    _FENCED,
    """
-- ARGV[3] their new idle time, ARGV[4] milliseconds until they end if that is more than a lease,
-- else 0; ARGV[5...] leases. Returns what GIVE_BACK does.
local owned, lost, _, places = fenced(5, #ARGV)
if #owned == 0 then return {lost, 0} end
if ARGV[4] ~= '0' then
  local ends = now() + ARGV[4]
  for _, id in ipairs(owned) do redis.call('ZADD', KEYS[2], ends, id) end
elseif redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('ZREM', KEYS[2], unpack(owned))
end
local words = {KEYS[1], ARGV[1], ARGV[2], 0}
for _, id in ipairs(owned) do words[#words + 1] = id end
for _, word in ipairs({'IDLE', ARGV[3], 'JUSTID'}) do words[#words + 1] = word end
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

_KNOWN = """
-- Returns a function that says whether an entry of XPENDING is among the leases in `words`.
local function knows(words)
  local known = {}
  for lease in string.gmatch(words, '%S+') do known[lease] = true end
  return function(entry)
    return known[entry[4] == 1 and entry[1] or entry[1] .. '/' .. entry[4]]
  end
end
"""

RECOVER: Final = Script(
    _TAKE,
    _KNOWN,
    """
-- ARGV[3] how many to take at most, ARGV[4] the leases the consumer knows of, with spaces between.
-- Returns {id, count, fields} for what it owns and does not know, and how many were trimmed.
local limit, known = tonumber(ARGV[3]), knows(ARGV[4])
local start, page = '-', nil
repeat
  page = redis.call('XPENDING', KEYS[1], ARGV[1], start, '+', 100, ARGV[2])
  for _, entry in ipairs(page) do
    start = '(' .. entry[1]
    if #taken < limit and not known(entry) then take(entry[1], entry[4]) end
  end
until #page < 100 or #taken >= limit
return {taken, trimmed}
""",
)

LEAVE: Final = Script(
    _FREE,
    _NOW,
    _WAKE,
    _KNOWN,
    """
-- ARGV[3] the leases the consumer knows of, with spaces between. Gives back all it owns; what it
-- never knew of is not charged. Deletes the consumer, which owns nothing by then: it is one step.
local known, due, page, any = knows(ARGV[3]), now(), nil, false
repeat
  page = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 100, ARGV[2])
  for _, entry in ipairs(page) do
    any = true
    local id, count = entry[1], entry[4]
    if not known(entry) then count = math.max(0, count - 1) end
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
