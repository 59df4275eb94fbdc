-- `.chance`: the generator MT19937, for programs that sow it themselves.
local SIZE, AHEAD = 624, 397
local words, place = {}, nil

local function seed(number)
  words[0] = math.tointeger(number) and number & 0xffffffff or error("seed: a whole number", 3)
  for i = 1, SIZE - 1 do words[i] = (1812433253 * (words[i - 1] ~ words[i - 1] >> 30) + i) & 0xffffffff end
  place = SIZE
end

local function renew()
  for i = 0, SIZE - 1 do
    local mixed = words[i] & 0x80000000 | words[(i + 1) % SIZE] & 0x7fffffff
    words[i] = words[(i + AHEAD) % SIZE] ~ mixed >> 1 ~ (mixed & 1) * 0x9908b0df
  end
  place = 0
end

local chance = {}

function chance.seed(number) seed(number) end

-- From 0 to less than 1. What nobody has sown begins with chance of the assignment.
function chance.random()
  if not place then seed(math.random(0, 0xffffffff)) end
  if place == SIZE then renew() end
  local word = words[place]
  place = place + 1
  word = word ~ word >> 11
  word = word ~ word << 7 & 0x9d2c5680
  word = word ~ word << 15 & 0xefc60000
  return (word ~ word >> 18) / 4294967296
end

-- From `least` to `most`, both of them among it.
function chance.integer(least, most)
  if most < least then error("integer: the most is less than the least", 2) end
  return math.floor(chance.random() * (most - least + 1) + least)
end

return chance
