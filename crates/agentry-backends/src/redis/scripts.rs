//! What runs in the server: each script is one round trip and one moment of the server's clock.

use std::sync::LazyLock;

use super::Script;

/// An entry with how long it may still be there, unless one of its tags was invalidated at or after its writing.
pub(super) static GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local found = redis.call('HMGET', KEYS[1], 'value', 'written', 'tags')
if not found[1] then return false end
local written = tonumber(found[2])
for tag in string.gmatch(found[3], '%S+') do
  local invalidated = redis.call('GET', ARGV[1] .. tag)
  if invalidated and tonumber(invalidated) >= written then
    redis.call('UNLINK', KEYS[1])
    return false
  end
end
return {found[1], redis.call('PTTL', KEYS[1])}",
    )
});

pub(super) static SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] .. string.format('%06d', time[2])
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'written', now, 'tags', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.status_reply('OK')",
    )
});

/// Remembers when, for as long as an entry may live.
pub(super) static INVALIDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] .. string.format('%06d', time[2])
redis.call('SET', KEYS[1], now, 'PX', ARGV[1])
return redis.status_reply('OK')",
    )
});

/// Any number of (key, window in ms, amount) after the prefix.
pub(super) static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sums = {}
for at = 2, #ARGV, 3 do
  local window = tonumber(ARGV[at + 1])
  local number = math.floor(now / window)
  local key = ARGV[1] .. ARGV[at] .. ':' .. ARGV[at + 1] .. ':'
  local name = key .. string.format('%.0f', number)
  local current
  if tonumber(ARGV[at + 2]) == 0 then
    current = tonumber(redis.call('GET', name) or '0')
  else
    current = redis.call('INCRBY', name, ARGV[at + 2])
    redis.call('PEXPIRE', name, window * 2 + 1000)
  end
  local previous = tonumber(redis.call('GET', key .. string.format('%.0f', number - 1)) or '0')
  sums[#sums + 1] = {number, now - number * window, current, previous}
end
return sums",
    )
});

/// Counts the instances that live.
pub(super) static PRESENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], 86400000)
return redis.call('ZCARD', KEYS[1])",
    )
});
