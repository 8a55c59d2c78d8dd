-- Tells which commands are refused to the user, or not known to the server.
-- Changes nothing: what it is given to call leaves a key alone that is not there.
-- KEYS: one that is not there, in the slot of a bucket. ARGV: for each command its words, counted.
local refused = {}
local at = 1
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  local words = {}
  for offset = 1, count do
    local word = ARGV[at + offset]
    words[offset] = word == '@' and KEYS[1] or word
  end
  local reply = redis.pcall(unpack(words))
  if type(reply) == 'table' and reply.err then
    local text = string.lower(reply.err)
    if string.find(text, 'acl failure') or string.find(text, 'permission')
        or string.find(text, "can't run") or string.find(text, 'unknown') then
      refused[#refused + 1] = words[1]
    end
  end
  at = at + count + 1
end
return refused
