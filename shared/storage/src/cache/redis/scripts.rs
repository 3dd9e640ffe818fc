//! What has to happen on the server in one step.

use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::LuaInterface as _;
use fred::types::{FromValue, Value};
use fred::util::sha1_hash;

/// Leaves a mark unless there is one of this server's reign; gives the mark that is there.
///
/// Key: the user's. Arguments: identity, new mark, life in ms.
pub(super) const LEAVE_MARK: &str = r"
local head = redis.pcall('GETRANGE', KEYS[1], 0, 15)
if type(head) == 'string' and #head == 16 and string.sub(head, 1, 8) == ARGV[1] then
  return string.sub(head, 9, 16)
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return ARGV[2]";

/// Stores a value if what is there begins as it does, and makes room in the bucket.
///
/// Keys: the user's, the bucket's queue. Arguments: head, entry, life in ms, user, present time in ms, lists in the bucket
/// at most, what begins the keys of the bucket's users.
pub(super) const PUT: &str = r"
if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local most = tonumber(ARGV[6])
if redis.call('ZCARD', KEYS[2]) > most then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', tonumber(ARGV[5]) - tonumber(ARGV[3]))
  local over = redis.call('ZCARD', KEYS[2]) - most
  if over > 0 then
    local oldest = redis.call('ZPOPMIN', KEYS[2], math.min(over, 64))
    for place = 1, #oldest, 2 do
      redis.call('UNLINK', ARGV[7] .. oldest[place])
    end
  end
end
return 1";

/// A script and its name on servers.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    name: String,
}

impl Script {
    pub fn new(text: &'static str) -> Self {
        Self { text, name: sha1_hash(text) }
    }

    /// Runs it by its name; by its text where it is not known, which makes it known. That is so after a restart and
    /// after a fail-over.
    pub async fn run<T: FromValue>(
        &self,
        client: &WithOptions<Client>,
        keys: Vec<String>,
        arguments: Vec<Value>,
    ) -> Result<T, Error> {
        match client.evalsha(self.name.as_str(), keys.clone(), arguments.clone()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.eval(self.text, keys, arguments).await
            }
            done => done,
        }
    }
}
