//! Images per second from files to normalised batches: `throughput FOLDER [THREADS] [PASSES]`.

use std::sync::Arc;
use std::time::Instant;

use regraft_data::{ImageFolder, Loader, LoaderConfig, Preprocessing, Transform};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("usage: throughput FOLDER [THREADS] [PASSES]")?;
    let threads = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let passes = arguments.next().map_or(Ok(3), |text| text.parse())?;

    let dataset = ImageFolder::new(folder).load()?;
    let transform = Transform::evaluation(&Preprocessing::default());
    let config = LoaderConfig {
        threads,
        ..LoaderConfig::default()
    };
    let loaders = [dataset.train, dataset.validation]
        .into_iter()
        .map(|samples| Loader::new(Arc::new(samples), transform, &config))
        .collect::<Result<Vec<_>, _>>()?;
    for _ in 0..passes {
        let (start, mut images) = (Instant::now(), 0);
        for loader in &loaders {
            let mut batches = loader.in_order();
            while let Some(batch) = batches.next_batch() {
                images += batch?.len();
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        #[expect(clippy::print_stdout, reason = "the result of this program")]
        {
            println!(
                "{images} images, {seconds:.3} s, {:.0} images/s",
                images as f64 / seconds
            );
        }
    }
    Ok(())
}
