-- End sessions of a bucket; the number of KEYS bounds the work. While the database is to be told, a
-- mark of each stays.
-- KEYS: live index, pending set, events, session hashes.
-- ARGV: 0 or the seconds that the marks stay, 1 to count the ends (0 where a session goes on under
--       another name), a token where the database tells whether they end ('' where they do), three
--       for is_meant(), then the sid of each hash.
-- Reply: for each hash the tag of its user ('' if it has none or was not there), and 1 if the
--        database lacked something of it, 2 if it lacked an end, 3 if it is not meant, else 0.
local reply, gone, marked, lasting, sids, counted = {}, {}, {}, {}, {}, 0
for i = 4, #KEYS do
  local user, lacking, is_session = '', 0, false
  local text = redis.pcall('HGET', KEYS[i], '~')
  if type(text) == 'table' and not string.find(text['err'], 'WRONGTYPE') then
    error(text['err'])
  end
  if text == 'x p' then
    lacking = redis.call('HGET', KEYS[i], '~t') and 0 or 2
  elseif type(text) == 'string' then
    local created, version, tag, rest = parse(text)
    is_session = created ~= nil
    if is_session and is_meant(text, 4) then
      user = tag
      counted = counted + 1
      lacking = is_pending(rest) and 1 or 0
    elseif is_session then
      lacking = 3
    end
  end
  if lacking < 3 then
    -- What the database decides on keeps what it holds, and expires as it would.
    if ARGV[3] ~= '' and is_session then
      lasting[#lasting + 1] = KEYS[i]
    elseif ARGV[1] ~= '0' or lacking < 2 then
      gone[#gone + 1] = KEYS[i]
    end
    sids[#sids + 1] = ARGV[i + 3]
  end
  reply[2 * i - 7], reply[2 * i - 6] = user, lacking
end
if #sids == 0 then
  return reply
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
end
if ARGV[1] ~= '0' then
  for i = 1, #gone do
    redis.call('HSET', gone[i], '~', 'x p')
    redis.call('EXPIRE', gone[i], ARGV[1])
  end
  if ARGV[3] ~= '' then
    for i = 1, #gone do
      redis.call('HSET', gone[i], '~t', ARGV[3])
    end
    -- No lease is left that anybody has.
    for i = 1, #lasting do
      redis.call('HSET', lasting[i], '~', 'x p', '~t', ARGV[3], '~l', '')
    end
  end
  redis.call('SADD', KEYS[2], unpack(sids))
end
leave(KEYS[1], unpack(sids))
if ARGV[2] == '1' then
  tally(KEYS[3], 'e', counted)
end
return reply
