//! Tests of what is promised for tasks that were accepted for good.

mod ended;
mod hostile;
mod kept;
mod races;
mod retried;
mod submitted;
