//! Runs hyper's tasks on the thread that they are begun on.

/// An executor for tasks that stay on their thread.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
