-- End sessions of a bucket; the number of KEYS bounds the work. While the database is to be told, a
-- tombstone of each stays.
-- KEYS: live index, pending set, events, session hashes.
-- ARGV: 0 or the seconds that the tombstones stay, the KEY of the one session ('' for any), the stamp
--       of its end, then the sid of each hash.
-- Reply: for each hash the tag of its user ('' if it has none or was not there), and 1 if the
--        database never had it, 2 if it lacked an end, 3 if it has another KEY, 4 if that may be
--        an earlier one, else 0.
local reply, gone, sids, counted = {}, {}, {}, 0
for i = 4, #KEYS do
  local user, code = '', 0
  local text = redis.pcall('HGET', KEYS[i], '~')
  if type(text) == 'table' and not string.find(text['err'], 'WRONGTYPE') then
    error(text['err'])
  end
  if text == 'x p' then
    code = 2
  elseif type(text) == 'string' then
    local twin = open(KEYS[i])
    if twin and ARGV[2] ~= '' and twin.key ~= ARGV[2] then
      code = twin.behind > 0 and 4 or 3
    elseif twin then
      user = twin.user
      counted = counted + 1
      code = twin.base == 0 and 1 or 0
    end
  end
  if code < 3 then
    if ARGV[1] ~= '0' or code < 2 then
      gone[#gone + 1] = KEYS[i]
    end
    sids[#sids + 1] = ARGV[i]
  end
  reply[2 * i - 7], reply[2 * i - 6] = user, code
end
if #sids == 0 then
  return reply
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
end
if ARGV[1] ~= '0' then
  for i = 1, #gone do
    redis.call('HSET', gone[i], '~', 'x p', '~k', ARGV[2], '~e', ARGV[3])
    redis.call('EXPIRE', gone[i], ARGV[1])
  end
  for i = 1, #sids do
    await(KEYS[2], sids[i])
  end
end
leave(KEYS[1], unpack(sids))
tally(KEYS[3], 'e', counted)
return reply
