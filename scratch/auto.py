import sys, json, time
sys.path.insert(0,'/tmp/c-tree'); sys.path.insert(0,'/tmp/c-tree/src')
import torch; torch.set_num_threads(1)
import germ; assert 'c-tree' in germ.__file__
from benchmarks.nets import NETS
ref=json.load(open('/tmp/bench-tree/benchmarks/results/lessons.json'))['nets']
seeds=range(int(sys.argv[1]) if len(sys.argv)>1 else 1)
for net,r in zip(NETS,ref):
    exact=r['reference']['value']; post,red=net.posteriors()
    for seed in seeds:
        t=time.process_time(); s=germ.sample(post,seed=seed,throw=False); t=time.process_time()-t
        e=germ.llc(s,drop_failed=True)
        print(f"{net.name:46s} {exact:6.2f} {e.value:7.2f} ± {e.standard_error:.2f} ({e.value/exact-1:+.1%}) vir {e.virial:.3f} R̂ {e.rhat:.2f} ess {e.ess:.0f} eps {s.attrs['step_size']:.2f} B {s.attrs['batch_size']} grads {e.num_gradients} {t:.0f}s",flush=True)
        print('   ',s.attrs['reasons'].get('batch_size'),'|',s.attrs['reasons']['friction'],'|', [w[:40] for w in e.warnings])
