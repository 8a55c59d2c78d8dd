-- Count what happens to sessions in the hash of a bucket's events: "cm29924567" holds how many were
-- created in that minute since the epoch, "eh498742" how many were ended in that hour, "lh498742" how many
-- lost what waited for the database. What cannot be counted is not, whatever the reason: a count must not
-- cost a session.
local function forget_older(events, minute, hour)
  redis.pcall('EXPIRE', events, 26 * 3600)
  local fields = redis.pcall('HKEYS', events)
  for i = 1, #fields do
    local scale, number = string.match(fields[i], '^[cel]([mh])(%d+)$')
    if not scale or tonumber(number) < (scale == 'm' and minute - 60 or hour - 24) then
      redis.pcall('HDEL', events, fields[i])
    end
  end
end

local function tally(events, kind, number)
  local now = events and number > 0 and redis.pcall('TIME')
  if not now or now['err'] then
    return
  end
  local minute = math.floor(now[1] / 60)
  local hour = math.floor(minute / 60)
  for _ = 1, 2 do
    local of_minute = redis.pcall('HINCRBY', events, string.format('%sm%.0f', kind, minute), number)
    local of_hour = redis.pcall('HINCRBY', events, string.format('%sh%.0f', kind, hour), number)
    if type(of_minute) == 'number' and type(of_hour) == 'number' then
      if of_hour == number then
        forget_older(events, minute, hour)
      end
      return
    end
    -- A foreign value lies there.
    redis.pcall('UNLINK', events)
  end
end
