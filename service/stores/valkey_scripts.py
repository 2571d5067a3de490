"""What Valkey runs in one step each. Keys: the newest sequence, numbers by name, records by ``name:number``, processes.

A sequence is the server's time in microseconds, or one more than the newest where its clock is behind: so a server that
was started empty, or from an older copy, never gives one a second time. Numbers print with ``%.0f``: Lua's own way
rounds after 14 digits.
"""

__all__ = ["APPEND", "HISTORY", "LATEST", "PROCESSES", "REPORT"]

# The number last given to a name; counted again where someone has written what is no number.
_GIVEN = """
local function given(numbers, records, name)
  local number = tonumber(redis.call('HGET', numbers, name) or '0')
  if not number then
    number = 0
    while redis.call('HEXISTS', records, name .. ':' .. (number + 1)) == 1 do number = number + 1 end
  end
  return number
end
"""

_NOW_MS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: sequence, numbers, records. ARGV: name, number that must be the last one given, record, channel.
# Everything is read, and so of the right type, before anything is written: an error leaves nothing half done.
APPEND = (
    _GIVEN
    + """
local number = given(KEYS[2], KEYS[3], ARGV[1])
if number ~= tonumber(ARGV[2]) then return {0, number} end
local newest = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local time = redis.call('TIME')
local sequence = string.format('%.0f', math.max(newest + 1, time[1] * 1000000 + time[2]))
local record = '{"sequence":' .. sequence .. ',' .. string.sub(ARGV[3], 2)
redis.call('HSET', KEYS[3], ARGV[1] .. ':' .. (number + 1), record)
redis.call('HSET', KEYS[2], ARGV[1], number + 1)
redis.call('SET', KEYS[1], sequence)
redis.call('PUBLISH', ARGV[4], sequence)
return {1, sequence}
"""
)

# KEYS: numbers, records. Gives name, number and record, one after another.
LATEST = (
    _GIVEN
    + """
local found = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local number = given(KEYS[1], KEYS[2], name)
  found[#found + 1] = name
  found[#found + 1] = number
  found[#found + 1] = redis.call('HGET', KEYS[2], name .. ':' .. number)
end
return found
"""
)

# KEYS: numbers, records. ARGV: name, number to stay below, how many. Gives the highest number and its records down.
HISTORY = (
    _GIVEN
    + """
local top = math.min(given(KEYS[1], KEYS[2], ARGV[1]), tonumber(ARGV[2]) - 1)
local found = {top}
for number = top, math.max(top - tonumber(ARGV[3]) + 1, 1), -1 do
  found[#found + 1] = redis.call('HGET', KEYS[2], ARGV[1] .. ':' .. number)
end
return found
"""
)

# KEYS: processes. ARGV: id, lease in ms, record. Forgets whose lease is over, by the distance in time: a clock that was
# set back makes nobody immortal.
REPORT = (
    _NOW_MS
    + """
local entries = redis.call('HGETALL', KEYS[1])
for at = 1, #entries, 2 do
  local seen, lease = string.match(entries[at + 1], '^{"seen_ms":(%d+),"lease_ms":(%d+),')
  if not seen or math.abs(now - seen) >= tonumber(lease) then redis.call('HDEL', KEYS[1], entries[at]) end
end
local head = '{"seen_ms":' .. string.format('%.0f', now) .. ',"lease_ms":' .. ARGV[2] .. ','
return redis.call('HSET', KEYS[1], ARGV[1], head .. string.sub(ARGV[3], 2))
"""
)

# KEYS: processes. Gives the server's time in ms, and every process.
PROCESSES = (
    _NOW_MS
    + """
return {now, redis.call('HVALS', KEYS[1])}
"""
)
