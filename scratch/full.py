from kron import *
from germ.samplers import HMC, Diagonal
def show(tag,s,exact,post):
    try: e=germ.llc(s,drop_failed=True); print(f"  {tag:44s} {e.value:7.2f} ± {e.standard_error:.2f} ({e.value/exact-1:+.1%}) vir {e.virial:.3f}±{e.virial_error:.3f} R̂ {e.rhat:.2f} ess {e.ess:.0f} acc {e.acceptance:.2f} grads {e.num_gradients}",flush=True)
    except Exception as x: print(f"  {tag:44s} failed {s.attrs['statuses']}",flush=True)
ref=json.load(open('/tmp/bench-tree/benchmarks/results/lessons.json'))['nets']
for net,r in zip(NETS,ref):
    exact=r['reference']['value']; post,red=net.posteriors()
    print(net.name,round(exact,2),flush=True)
    kw=dict(chains=4,draws=600,warmup=300,batch_size=10**9,seed=1,throw=False)
    cal=calibrate(red,batch_size=10**9,seed=0,num_steps=900); D=cal.sampler.preconditioner
    show(f"diag auto eps {cal.sampler.step_size:.2f}",germ.sample(red,cal.sampler,**kw),exact,red)
    pre,eps,lam,noise=build(red,10**9,0)
    show(f"rot eps {eps:.3f} lam {lam:.2f}",germ.sample(red,LeimkuhlerMatthews(eps,pre),**kw),exact,red)
    dense=mean_metric(red,red.anchor[None])
    for _ in (0,1):
        p=germ.sample(red,LeimkuhlerMatthews(.05,dense),chains=4,draws=4,warmup=100,batch_size=10**9,seed=5,observables={'position':__import__('benchmarks.reference',fromlist=['position']).position},throw=False)
        dense=mean_metric(red,torch.from_numpy(p['position'].values[:,-1]))
    show("dense eps .2",germ.sample(red,LeimkuhlerMatthews(.2,dense),**kw),exact,red)
    show("dense eps .5",germ.sample(red,LeimkuhlerMatthews(.5,dense),**kw),exact,red)
    kwh={**kw,'draws':75,'warmup':38}
    show("hmc diag L=8 eps .3",germ.sample(red,HMC(.3,8,D),**kwh),exact,red)
    show("hmc dense L=8 eps .2",germ.sample(red,HMC(.2,8,dense),**kwh),exact,red)
